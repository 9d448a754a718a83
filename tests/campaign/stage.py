"""A project with a tree, kept as a copy to come back to, and what is to be seen of both."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from porter.verify.execution import forkserver_main
from tests.campaign import warm_torch
from tests.campaign.copies import Copies
from tests.campaign.forked import SECONDS, Fault, Outcome, run
from tests.small_project import Upstreams, make_project, message, sealed_git, write_files

IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (
        ("NAME", "Ada Test"),
        ("EMAIL", "ada@example.org"),
        ("DATE", "2024-01-02T03:04:05+00:00"),
    )
}


@dataclass(frozen=True, slots=True)
class Seen:
    """A folder's files, by path, and of a tree what git says of it."""

    files: Mapping[str, bytes | str]
    git: str = ""


@dataclass
class Stage:
    """``top`` holds the project, its tree, the cache, a home and TMPDIR; ``kept`` are copies."""

    top: Path
    upstreams: Upstreams
    kept: Path
    env: dict[str, str] = field(default_factory=dict)
    copies: Copies = field(init=False)
    warm_server: int = 0

    def __post_init__(self) -> None:
        self.copies = Copies(self.top, self.kept)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.top / "home"),
            "TMPDIR": str(self.top / "tmp"),
            "PORTER_CACHE": str(self.top / "cache"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.top / "home" / "gitconfig"),
            "GIT_ALLOW_PROTOCOL": "file",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "dumb",
            "COLUMNS": "80",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **IDENTITY,
        }

    @property
    def project(self) -> Path:
        return self.top / "project"

    @property
    def given(self) -> Path:
        """Where levels are given out to."""
        return self.top / "given"

    @property
    def tree(self) -> Path:
        return self.top / "work" / "toy"

    def porter(
        self,
        *words: str | Path,
        cwd: Path | None = None,
        fault: Fault | None = None,
        env: Mapping[str, str] | None = None,
        out: str = "ran",
        seconds: float = SECONDS,
    ) -> Outcome:
        """Run porter, by default in the tree, else in the project."""
        at = cwd or (self.tree if self.tree.is_dir() else self.project)
        at = at if at.is_dir() else self.top
        merged = {**self.env, **(env or {})}
        return run(words, cwd=at, env=merged, scratch=self.kept / out, fault=fault, seconds=seconds)

    def make(self) -> None:
        """Make the project, a warm cache, and a tree of ``toy`` at level 2 of 5."""
        make_project(self.project, self.upstreams)
        for name in ("home", "tmp", "work"):
            (self.top / name).mkdir()
        (self.top / "home" / "gitconfig").write_text("[init]\n\tdefaultBranch = main\n")
        self.must("apply", "toy", self.tree, "--alone", cwd=self.project)
        rows = "".join(f"x{n}\n" for n in range(9))
        for level, line in (("first-fight", None), ("second-fight", "second")):
            text = rows if line is None else rows.replace("x4", line)
            write_files(self.tree, {"fight.txt": text})
            sealed_git(self.tree, "add", "fight.txt")
            sealed_git(self.tree, "commit", "--quiet", "-m", message(level, f"Do {level}"))
        self.must("refresh")
        self.must("lock", "mate", "toy", cwd=self.project)
        self.must("goto", "add-new")

    def must(
        self, *words: str | Path, cwd: Path | None = None, seconds: float = SECONDS
    ) -> Outcome:
        done = self.porter(*words, cwd=cwd, seconds=seconds)
        assert done.code == 0, (words, done.words)
        return done

    def warm_torch(self) -> None:
        """Let verifications fork from a process that has imported torch, until this one ends."""
        venvs = list((self.top / "cache" / "environments").glob("*/*/venv/bin/python"))
        assert len(venvs) == 1, venvs
        place = Path(tempfile.mkdtemp()) / "socket"
        words = [venvs[0], warm_torch.__file__, place, forkserver_main.__file__]
        env = {**self.env, "TMPDIR": str(place.parent)}
        started = subprocess.Popen(words, env=env, stdout=subprocess.PIPE)
        assert started.stdout is not None
        assert started.stdout.readline(), "torch cannot be imported"
        self.env[warm_torch.PLACE] = str(place)
        self.warm_server = started.pid

    def keep(self, name: str) -> None:
        """Keep a copy of everything as it is now."""
        self.copies.keep(name)

    def back(self, name: str) -> None:
        """Bring everything back to a kept copy; what was not changed since stays."""
        brought = self.copies.back(name)
        index, tree = self.tree / ".git" / "index", f"{self.tree.relative_to(self.top)}/"
        copied = any(p.startswith(tree) and not p.startswith(f"{tree}.git/") for p in brought)
        if copied and index.exists():  # the copies have other inodes
            self.git("update-index", "-q", "--refresh")
            self.copies.accept(f"{tree}.git/index")

    def git(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.tree, env=self.env, capture_output=True, check=False
        )
        return os.fsdecode(done.stdout + done.stderr)

    def see_project(self) -> Seen:
        return Seen(_files(self.project))

    def see_tree(self) -> Seen:
        """Return the tree's files, HEAD, index, and what is in progress; folders are left out."""
        if not (self.tree / ".git" / "HEAD").exists():
            return Seen(_files(self.tree))
        git_dir = self.tree / ".git"
        state = sorted(p.name for p in (git_dir / "porter").iterdir() if p.name != "lock")
        pending = ("CHERRY_PICK_HEAD", "index.lock", "HEAD.lock", "sequencer")
        refs = self.git(
            "for-each-ref", "--format=%(refname) %(objectname)", "refs/porter", "refs/heads/given"
        )
        said = [
            self.git("rev-parse", "HEAD", "--symbolic-full-name", "HEAD"),
            self.git("ls-files", "-s", "-t"),
            self.git("--no-optional-locks", "status", "--porcelain", "--ignore-submodules=none"),
            # The bytes of the saved index hold the times and numbers of its files.
            "\n".join(row for row in refs.splitlines() if "/edit/saved" not in row),
            " ".join(name for name in state if not name.endswith(".new")),
            " ".join(name for name in pending if (git_dir / name).exists()),
        ]
        given = {f"given/{name}": text for name, text in _files(self.given).items()}
        return Seen(_files(self.tree) | given, "\n".join(said))

    def leftovers(self) -> list[str]:
        """Return what a killed command left in TMPDIR, the project and the tree's state."""
        # Python tries whether it may write into TMPDIR with an empty file of eight letters.
        found = [p for p in (self.top / "tmp").iterdir() if not re.match(r"[a-z0-9_]{8}$", p.name)]
        for folder in (self.project, self.given, self.tree / ".git" / "porter"):
            found += [p for p in folder.rglob("*") if p.name.endswith(".new")]
        found += [self.project / "patches" / ".change"] * (
            self.project / "patches" / ".change"
        ).exists()
        return sorted(str(path.relative_to(self.top)) for path in found)


def _files(folder: Path) -> dict[str, bytes | str]:
    """Return every file below ``folder`` but git's, and but what a kill left: content or target."""
    found: dict[str, bytes | str] = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (".git", ".change")]
        for name in names:
            path = Path(base, name)
            if name == ".git" or name.endswith(".new"):
                continue
            key = str(path.relative_to(folder))
            found[key] = str(path.readlink()) if path.is_symlink() else path.read_bytes()
            if not path.is_symlink() and path.stat().st_mode & 0o100:
                found[f"{key} (mode)"] = "executable"
    return found


def differences(one: Seen, other: Seen) -> str:
    """Return in a few lines where two states differ."""
    rows = [
        f"{path}: {one.files.get(path)!r:.200} / {other.files.get(path)!r:.200}"
        for path in sorted({*one.files, *other.files})
        if one.files.get(path) != other.files.get(path)
    ]
    if one.git != other.git:
        mine, theirs = one.git.splitlines(), other.git.splitlines()
        rows += [f"- {row}" for row in mine if row not in theirs]
        rows += [f"+ {row}" for row in theirs if row not in mine]
    return "\n".join(rows[:30])

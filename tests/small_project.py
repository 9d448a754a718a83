"""A small project for tests: upstreams in bare repositories, pins, and short series.

Port ``toy`` has three patches, a submodule ``LIB`` (pin ``lib``) and a companion ``mate``.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

A_LINES = [f"a{number} = {number}\n" for number in range(40)]
B_LINES = [f"b{number} = {number}\n" for number in range(12)]

UPSTREAM = {
    ".gitignore": "*.log\nbuilt/\n",
    "README.md": "a toy\n",
    "pkg/a.py": "".join(A_LINES),
    "pkg/b.py": "".join(B_LINES),
    "pkg/sub/c.py": "c = 0\n",
    "pkg/old.py": "gone = 'soon'\n",
    "tools/run.sh": "#!/bin/sh\nexit 0\n",
    "media/big.txt": "unwanted\n" * 50,
}
LEVELS = ("widen-a", "add-new", "drop-old")


def sealed_git(folder: Path, *args: str) -> str:
    """Run git in ``folder`` without this machine's configuration; return its output."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    env |= {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.org",
        "GIT_AUTHOR_DATE": "2024-01-02T03:04:05+0100",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.org",
        "GIT_COMMITTER_DATE": "2024-01-02T03:04:05+0100",
        "HOME": str(folder),
    }
    done = subprocess.run(
        ["git", *args],
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, (args, done.stderr)
    return done.stdout


def write_files(folder: Path, files: Mapping[str, str | None]) -> None:
    """Write (or, for None, delete) files below ``folder``; leave no folder empty."""
    for name, text in files.items():
        path = folder / name
        if text is None:
            path.unlink()
            while path.parent != folder and not any(path.parent.iterdir()):
                path = path.parent
                path.rmdir()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if name.endswith(".sh"):
            path.chmod(0o755)


def message(level: str, subject: str) -> str:
    """Return a commit message with all fields that a patch's header needs."""
    return (
        f"{subject}\n\nBecause the tests need it.\n\nLevel: {level}\nDevices: hpu, npu\n"
        "Keeps: everything\nGains: a level\nOrigin: these tests\nForwarded: not-needed\n"
    )


def replaced(lines: list[str], number: int, text: str) -> str:
    return "".join([*lines[:number], text, *lines[number + 1 :]])


def series_steps() -> list[tuple[str, str, dict[str, str | None]]]:
    """Return (level, subject, files) of toy's three patches."""
    first = replaced(A_LINES, 3, "a3 = 'three'\n")
    third = replaced(first.splitlines(keepends=True), 30, "a30 = 'thirty'\n")
    return [
        ("widen-a", "Widen a", {"pkg/a.py": first}),
        (
            "add-new",
            "Add a new file",
            {"pkg/new.py": "new = 1\n", "pkg/b.py": replaced(B_LINES, 5, "b5 = 'five'\n")},
        ),
        ("drop-old", "Drop the old file", {"pkg/old.py": None, "pkg/a.py": third}),
    ]


@dataclass(frozen=True)
class Upstreams:
    """Bare repositories by pin name, and the pinned commits."""

    folder: Path
    commits: dict[str, str]
    trees: dict[str, str]


def publish(folder: Path, name: str, work: Path) -> None:
    """Clone ``work`` to the bare repository ``folder/name.git``, which serves single objects."""
    sealed_git(folder, "clone", "--quiet", "--bare", str(work), f"{name}.git")
    for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        sealed_git(folder / f"{name}.git", "config", key, "true")


def make_upstream(folder: Path, name: str, files: Mapping[str, str | None]) -> Path:
    """Make the repository ``folder/name`` of two commits, the second with ``files``."""
    work = folder / name
    work.mkdir(parents=True)
    sealed_git(work, "init", "--quiet", "--initial-branch=main")
    write_files(work, {"README.md": "before\n"})
    sealed_git(work, "add", ".")
    sealed_git(work, "commit", "--quiet", "-m", "Before the pin")
    write_files(work, files)
    sealed_git(work, "add", ".")
    sealed_git(work, "commit", "--quiet", "-m", "The pinned commit")
    return work


def make_upstreams(folder: Path) -> Upstreams:
    """Make the bare repositories of lib, mate and toy."""
    lib = make_upstream(folder, "lib", {"lib.py": "lib = 1\n"})
    mate = make_upstream(folder, "mate", {"mate.py": "mate = 1\n", "more.py": "more = 1\n"})
    toy = make_upstream(folder, "toy", UPSTREAM)
    lib_commit = sealed_git(lib, "rev-parse", "HEAD").strip()
    write_files(toy, {".gitmodules": '[submodule "LIB"]\n\tpath = LIB\n\turl = ../lib\n'})
    sealed_git(toy, "add", ".gitmodules")
    sealed_git(toy, "update-index", "--add", "--cacheinfo", f"160000,{lib_commit},LIB")
    sealed_git(toy, "commit", "--quiet", "--amend", "-m", "The pinned commit")
    commits, trees = {}, {}
    for name, work in (("lib", lib), ("mate", mate), ("toy", toy)):
        commits[name] = sealed_git(work, "rev-parse", "HEAD").strip()
        trees[name] = sealed_git(work, "rev-parse", "HEAD^{tree}").strip()
        publish(folder, name, work)
    return Upstreams(folder, commits, trees)


def pin_text(upstreams: Upstreams, name: str, extra: str = "") -> str:
    """Return the pin of an upstream as it stands in upstream_pins.yaml."""
    return (
        f"  {name}:\n    url: file://{upstreams.folder / name}.git\n"
        f"    commit: {upstreams.commits[name]}\n    tree: {upstreams.trees[name]}\n"
        f"    license: {'NONE' if name == 'mate' else 'MIT'}\n{extra}"
    )


def make_project(root: Path, upstreams: Upstreams) -> Path:
    """Write pins and series under ``root``."""
    root.mkdir(parents=True)
    extra = "    wanted: [.gitignore, .gitmodules, README.md, pkg/, tools/]\n"
    extra += "    submodules: {LIB: lib}\n    companions: [mate]\n"
    pins = (
        pin_text(upstreams, "toy", extra) + pin_text(upstreams, "mate") + pin_text(upstreams, "lib")
    )
    (root / "upstream_pins.yaml").write_text(f"version: 1\npins:\n{pins}")
    write_series(root, "toy", upstreams.folder / "toy", series_steps())
    step = ("mate-two", "Make it two", {"mate.py": "mate = 2\n"})
    write_series(root, "mate", upstreams.folder / "mate", [step])
    return root


def write_series(
    root: Path, port: str, work: Path, steps: list[tuple[str, str, dict[str, str | None]]]
) -> None:
    """Write the series that makes ``steps`` on a copy of the upstream's clone ``work``."""
    folder = root / "patches" / port
    folder.mkdir(parents=True)
    copy = root / f"{port}-work"
    shutil.copytree(work, copy)
    names = []
    for number, (level, subject, files) in enumerate(steps, 1):
        write_files(copy, files)
        sealed_git(copy, "add", "--all", "--", *files)
        diff = sealed_git(copy, "diff", "--cached", "--full-index", "--binary")
        sealed_git(copy, "commit", "--quiet", "-m", subject)
        names.append(f"{number:04d}-{level}.patch")
        subject_line, _, body = message(level, subject).partition("\n\n")
        (folder / names[-1]).write_text(
            "From: Ada <ada@example.org>\nDate: Tue, 2 Jan 2024 03:04:05 +0100\n"
            f"Subject: [PATCH] {subject_line}\n\n{body}---\n{diff}"
        )
    (folder / "series").write_text("".join(f"{name}\n" for name in names))
    shutil.rmtree(copy)


def move_pin(
    project: Path,
    upstreams: Upstreams,
    files: dict[str, str | None],
    links: Mapping[str, str] | None = None,
) -> str:
    """Let toy's pin name a commit after its own, and return it.

    In it ``files`` differ, and ``links`` are the commits of its submodules.
    """
    work = Path(tempfile.mkdtemp(dir=project.parent))
    sealed_git(project.parent, "clone", "-q", str(upstreams.folder / "toy.git"), str(work))
    write_files(work, files)
    sealed_git(work, "add", "--all")
    for path, oid in (links or {}).items():
        sealed_git(work, "update-index", "--cacheinfo", f"160000,{oid},{path}")
    sealed_git(work, "commit", "--quiet", "-m", "The next pin")
    commit, tree = sealed_git(work, "rev-parse", "HEAD", "HEAD^{tree}").split()
    sealed_git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/next-{commit[:12]}")
    pins = project / "upstream_pins.yaml"
    text = pins.read_text()
    old, old_tree = re.findall(r"(?:commit|tree): (\w{40})", text)[:2]
    pins.write_text(text.replace(old, commit).replace(old_tree, tree))
    return commit


def snapshot(folder: Path) -> dict[str, str]:
    """Return every file below ``folder`` but git's, by path."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }

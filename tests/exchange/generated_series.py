"""A project whose series is generated: odd names, modes, renames, binary files, any author."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from porter.cli import main
from porter.git.objects import Oid, Signature, encode_commit
from tests.generated_trees import EXAMPLES, Tree, edits, trees
from tests.plain_upstream import WHO, git, write_tree

SLOW = settings(
    max_examples=EXAMPLES // 6 + 1,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NAMES = (
    "Ada Porter",
    "Ada Pörter",
    "李 小龍",
    "A. Porter",
    'Ada "the" Porter',
    "Porter, Ada",
    r"Ada (a\b) P",
)
SUBJECTS = (
    "Change things", "Größe ändern", "Use hpu: (all) of it", "a=b?c_d =E9= e", "x " * 60 + "end",
    "Zeile 數", "fix #3 <b>", "FROM here: to there",
)  # fmt: skip
BODIES = (
    "A word on why.", "Größer,\n  eingerückt\n\nund  weiter.",
    "A list:\n- one\n- two\n\nSigned-off-by: A <a@b>",
    "From the start.", "ends in =\n=20 and =C3=BC.",
)  # fmt: skip
FIELDS = "Devices: hpu\nKeeps: all\n of it\nGains: some\nOrigin: nothing\nForwarded: not-needed\n"


@dataclass(frozen=True)
class Change:
    """One level: the files after it, its author, time and message."""

    state: Tree
    who: Signature
    message: str


@st.composite
def changes(draw: st.DrawFn) -> list[Change]:
    """Level 0 and a few levels, each with another tree than the one before."""
    states = [draw(trees())]
    found = [Change(states[0], WHO, "upstream\n")]
    for number in range(1, 4):
        state = draw(edits(states[-1]))
        if state == states[-1]:
            continue
        states.append(state)
        zone = draw(st.sampled_from(("+0000", "-0330", "+1400")))
        time = draw(st.integers(100_000, 2_000_000_000))
        who = Signature(draw(st.sampled_from(NAMES)), "ada@example.org", time, zone)
        text = draw(st.sampled_from(BODIES))
        between = "\n" if text.rpartition("\n\n")[2].startswith("Signed") else "\n\n"
        subject = draw(st.sampled_from(SUBJECTS))
        message = f"{subject}\n\n{text}{between}Level: part-{number}\n{FIELDS}"
        found.append(Change(state, who, message))
    return found


@dataclass(frozen=True)
class Made:
    """An upstream with the levels as commits above the pinned one, and a project beside it."""

    top: Path
    commits: Sequence[Oid]

    @property
    def upstream(self) -> Path:
        return self.top / "upstream"

    def project(self, name: str) -> Path:
        """Return a new project with an empty series."""
        root = self.top / name
        (root / "patches" / "gen").mkdir(parents=True)
        (root / "patches" / "gen" / "series").write_text("")
        tree = git(self.upstream, "rev-parse", f"{self.commits[0]}^{{tree}}")[1].decode().strip()
        (root / "upstream_pins.yaml").write_text(
            f"version: 1\npins:\n  gen:\n    url: file://{self.upstream}\n"
            f"    commit: {self.commits[0]}\n    tree: {tree}\n    license: MIT\n"
        )
        return root


@contextmanager
def made_upstream(found: Sequence[Change]) -> Iterator[Made]:
    """Write the changes as commits; porter's cache is in the same temporary folder."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as name:
        top = Path(name)
        upstream = top / "upstream"
        upstream.mkdir()
        git(upstream, "init", "-q")
        for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            git(upstream, "config", key, "true")
        commits: list[Oid] = []
        for change in found:
            tree = write_tree(upstream, change.state)
            body = encode_commit(tree, commits[-1:], change.who, change.who, change.message)
            out = git(upstream, "hash-object", "-t", "commit", "-w", "--stdin", data=body)[1]
            commits.append(Oid(out.decode().strip()))
        git(upstream, "update-ref", "refs/heads/levels", commits[-1])
        with mock.patch.dict(os.environ, {"PORTER_CACHE": str(top / "cache")}):
            yield Made(top, commits)


def porter(root: Path, *args: str | Path) -> str:
    """Run porter in a project; return what it prints. Any error fails the test."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ), redirect_stdout(out), redirect_stderr(err):
        code = main(["--root", str(root), *map(str, args)])
    assert code == 0, (args, err.getvalue())
    return out.getvalue()


def patch_files(root: Path, port: str = "gen") -> dict[str, bytes]:
    """Return the patches and the lock of a series."""
    folder = root / "patches" / port
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}

"""The commands of the campaign: one row each. Another command is another row.

A row says what is prepared, what is typed and where, and how its end is recognised. Everything else
(what must hold after a fault) is the same for all, in :mod:`tests.campaign.judge`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.campaign.forked import SECONDS
from tests.campaign.stage import Stage
from tests.campaign.warm_torch import PLACE
from tests.small_project import (
    A_LINES,
    B_LINES,
    message,
    move_pin,
    replaced,
    sealed_git,
    write_files,
)

RUN_SECONDS = 300.0
"""Longer than this a verification hangs: it makes an environment and imports torch."""
MARK = "# the user's own line\n"


@dataclass(frozen=True)
class Job:
    """One command. ``code`` is its exit code without a fault.

    ``session``: afterwards the tree is in a conflict that this command's --abort takes back.
    ``here``: where it is typed, ``tree``, ``project`` or ``top``. ``once``: typing it twice does
    two things (`undo`), so it is not typed again once it took effect. ``seconds``: longer is a
    hang. ``env`` are more variables.
    """

    name: str
    words: tuple[str, ...]
    prepare: Callable[[Stage], None] = lambda stage: None
    code: int = 0
    session: bool = False
    here: str = "tree"
    once: bool = False
    seconds: float = SECONDS
    env: Mapping[str, str] = field(default_factory=dict)

    def typed(self, stage: Stage) -> list[str]:
        return [
            word.replace("{top}", str(stage.top)).replace("{up}", str(stage.upstreams.folder))
            for word in self.words
        ]

    def folder(self, stage: Stage) -> Path:
        return {"tree": stage.tree, "project": stage.project, "top": stage.top}[self.here]


def _edit(stage: Stage) -> None:
    """An edit of the level that the tree is at, which no level above touches."""
    _append(stage.tree / "pkg" / "b.py")


def _append(path: Path) -> None:
    path.write_text(path.read_text() + MARK)


def _fight(stage: Stage) -> None:
    """An edit that conflicts with the level above."""
    stage.must("goto", "first-fight")
    path = stage.tree / "fight.txt"
    path.write_text(path.read_text().replace("x4", "mine") + MARK)


def _fought(stage: Stage) -> None:
    _fight(stage)
    assert stage.porter("refresh").code == 1


def _resolved(stage: Stage) -> None:
    _fought(stage)
    write_files(stage.tree, {"fight.txt": "".join(f"x{n}\n" for n in range(9)) + MARK})
    stage.git("add", "fight.txt")


def _new(stage: Stage) -> None:
    _edit(stage)
    (stage.top / "message").write_text(message("brand-new", "Say it"))


def _refreshed(stage: Stage) -> None:
    _edit(stage)
    stage.must("refresh")


def _undone(stage: Stage) -> None:
    _refreshed(stage)
    stage.must("undo")


def _unlocked(stage: Stage) -> None:
    (stage.project / "patches" / "toy" / "levels.lock").unlink()


def _committed(stage: Stage) -> None:
    _edit(stage)
    stage.git("commit", "-qam", message("brand-new", "Say it"))


def _kept_edit(stage: Stage) -> None:
    """An edit that `goto --keep` must merge."""
    _append(stage.tree / "pkg" / "a.py")


def _next_pin(stage: Stage, files: dict[str, str | None], branch: str) -> None:
    """Publish a commit after the pinned one as a branch; the pin stays.

    The stage's upstreams are those of all commands, so each commit has a branch of its own.
    """
    pins = stage.project / "upstream_pins.yaml"
    before = pins.read_text()
    found = move_pin(stage.project, stage.upstreams, files)
    pins.write_text(before)
    sealed_git(stage.upstreams.folder / "toy.git", "branch", "-f", branch, found)
    for left in stage.top.glob("tmp*"):
        if left.name != "tmp":
            shutil.rmtree(left)


_CLEAN: dict[str, str | None] = {"pkg/a.py": "# first\n" + "".join(A_LINES)}
_FIGHTS: dict[str, str | None] = {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'upstream'\n")}


def _rebase_clean(stage: Stage) -> None:
    _next_pin(stage, dict(_CLEAN), "later")


def _rebase_by_hand(stage: Stage) -> None:
    """The user has moved the pin; `porter rebase` takes it from levels.lock."""
    move_pin(stage.project, stage.upstreams, dict(_CLEAN))
    for left in stage.top.glob("tmp*"):
        if left.name != "tmp":
            shutil.rmtree(left)


def _rebase_fights(stage: Stage) -> None:
    _next_pin(stage, dict(_FIGHTS), "fighting")


def _rebase_fought(stage: Stage) -> None:
    _rebase_fights(stage)
    assert stage.porter("rebase", "--onto", "fighting").code == 1


def _rebase_resolved(stage: Stage) -> None:
    _rebase_fought(stage)
    write_files(stage.tree, {"pkg/b.py": replaced(B_LINES, 5, "b5 = 'five'\n")})
    stage.git("add", "pkg/b.py")


def _cold(stage: Stage) -> None:
    """No store, no tree."""
    for name in ("cache", "work"):
        shutil.rmtree(stage.top / name)


def _no_tree(stage: Stage) -> None:
    shutil.rmtree(stage.top / "work")


def _no_project(stage: Stage) -> None:
    _cold(stage)
    shutil.rmtree(stage.project)


def _fresh_project(stage: Stage) -> None:
    _no_project(stage)
    stage.must("init", "project", cwd=stage.top)


def _garbage(stage: Stage) -> None:
    """Levels that no tree and no pin reach."""
    _refreshed(stage)
    stage.must("undo")


def verified(stage: Stage) -> None:
    """A recipe, and the traces of its first runs, which made the environment."""
    from tests.verify.folder_trees import write_recipe

    if (stage.kept / "verified").exists():
        stage.back("verified")
        return

    probe = "def run(probe): probe.record('y', probe.normal('x', 9))\n"
    text = "levels: [1]\ndtypes: [float32]\nclaims: [{outputs: y, equal: {}}]\n"
    write_recipe(stage.project, "toy", "tiny", text, probe)
    stage.must("verify", "toy", "--recipe", "tiny", cwd=stage.project, seconds=RUN_SECONDS)
    stage.warm_torch()
    stage.keep("verified")


def _mails(stage: Stage, was: str, now: str) -> None:
    """Write two commits on the upstream as mails; the first changes ``was`` in pkg/a.py."""
    fork = stage.top / "fork"
    sealed_git(stage.top, "clone", "-q", str(stage.upstreams.folder / "toy.git"), str(fork))
    text = (fork / "pkg" / "a.py").read_text().replace(was, now)
    write_files(fork, {"pkg/a.py": text})
    sealed_git(fork, "commit", "-qam", message("mine", "Mine"))
    write_files(fork, {"tools/new.sh": "#!/bin/sh\n"})
    sealed_git(fork, "add", ".")
    sealed_git(fork, "commit", "-qm", message("tools", "Tools"))
    range_ = f"{stage.upstreams.commits['toy']}..HEAD"
    mails = sealed_git(fork, "format-patch", "--stdout", "--full-index", range_)
    (stage.top / "mails").write_text(mails)
    shutil.rmtree(fork)


def _clean_mails(stage: Stage) -> None:
    _mails(stage, "a20 = 20", "a20 = 'mine'")


def _diff(stage: Stage) -> None:
    text = "--- /dev/null\n+++ b/more.md\n@@ -0,0 +1 @@\n+more\n"
    (stage.top / "vendor.diff").write_text(text)


def _whole_tree(stage: Stage) -> None:
    """The files of the last level, one of them changed, without git's."""
    stage.must("goto", "second-fight")
    shutil.copytree(stage.tree, stage.top / "whole", ignore=shutil.ignore_patterns(".git"))
    _append(stage.top / "whole" / "README.md")
    stage.must("goto", "add-new")


def _fighting_mails(stage: Stage) -> None:
    _mails(stage, "a3 = 3", "a3 = 'mine'")


def _imported(stage: Stage) -> None:
    _fighting_mails(stage)
    assert stage.porter("import", "toy", stage.top / "mails").code == 1


def _import_resolved(stage: Stage) -> None:
    _imported(stage)
    text = (stage.tree / "pkg" / "a.py").read_text()
    head, _, rest = text.partition("<<<<<<<")
    rest = rest.partition(">>>>>>>")[2].partition("\n")[2]
    write_files(stage.tree, {"pkg/a.py": f"{head}a3 = 'both'\n{rest}"})
    stage.git("add", "pkg/a.py")


def _given_before(stage: Stage) -> None:
    """A quilt folder of an older series, which has another patch."""
    stage.must("export", "toy", "--to-quilt", stage.given / "quilt", cwd=stage.project)
    stage.must("rename", "add-new", "other-new")
    stage.must("drop", "widen-a")


_HEADS = ("--author", "Ada <ada@example.org>", "--date", "2024-01-02T03:04:05Z")
_VERIFY = ("verify", "toy", "--recipe", "tiny", "--fresh")
JOBS = (
    Job("init", ("init", "project", "--ci"), _no_project, here="top"),
    Job("add", ("add", "file://{up}/lib.git", "--name", "more"), _fresh_project, here="project"),
    Job("fetch", ("fetch", "toy"), _cold, here="project"),
    Job("apply", ("apply", "toy", "{top}/work/toy", "--alone"), _no_tree, here="project"),
    Job("apply-cold", ("apply", "toy", "{top}/work/toy", "--alone"), _cold, here="project"),
    Job("goto", ("goto", "0")),
    Job("goto-keep", ("goto", "drop-old", "--keep"), _kept_edit),
    Job("next", ("next",), once=True),
    Job("lock", ("lock", "toy"), _unlocked, here="project"),
    Job("export", ("export",), _committed),
    Job("refresh", ("refresh",), _edit),
    Job("refresh-conflict", ("refresh",), _fight, code=1, session=True),
    Job("refresh-continue", ("refresh", "--continue"), _resolved),
    Job("refresh-abort", ("refresh", "--abort"), _fought),
    Job("new", ("new", "brand-new", "-F", "{top}/message"), _new),
    Job("rename", ("rename", "add-new", "other-new")),
    Job("move", ("move", "drop-old", "--first")),
    Job("drop", ("drop", "widen-a")),
    Job("split", ("split", "add-new", "parted", "pkg/b.py")),
    Job("fold", ("fold", "add-new")),
    Job("import", ("import", "toy", "{top}/vendor.diff", *_HEADS), _diff),
    Job("import-mails", ("import", "toy", "{top}/mails"), _clean_mails),
    Job("import-tree", ("import", "toy", "--tree", "{top}/whole", *_HEADS), _whole_tree),
    Job("import-conflict", ("import", "toy", "{top}/mails"), _fighting_mails, 1, session=True),
    Job("import-continue", ("import", "--continue"), _import_resolved),
    Job("import-abort", ("import", "--abort"), _imported),
    Job("export-mbox", ("export", "toy", "--to-mbox", "{top}/given/mbox")),
    Job("export-diff", ("export", "toy", "--to-diff", "{top}/given/diff")),
    Job("export-branch", ("export", "toy", "--to-branch", "given")),
    Job("export-quilt", ("export", "toy", "--to-quilt", "{top}/given/quilt")),
    Job(
        "export-quilt-again",
        ("export", "toy", "--to-quilt", "{top}/given/quilt", "--force"),
        _given_before,
    ),
    Job("undo", ("undo",), _refreshed, once=True),
    Job("redo", ("redo",), _undone, once=True),
    Job("rebase", ("rebase", "--onto", "later"), _rebase_clean),
    Job("rebase-by-hand", ("rebase",), _rebase_by_hand),
    Job("rebase-conflict", ("rebase", "--onto", "fighting"), _rebase_fights, 1, session=True),
    Job("rebase-continue", ("rebase", "--continue"), _rebase_resolved),
    Job("rebase-abort", ("rebase", "--abort"), _rebase_fought),
    Job("gc", ("gc", "--now"), _garbage, here="project"),
    Job("prev", ("prev",), once=True),
    Job("verify", _VERIFY, verified, here="project", seconds=RUN_SECONDS),
    Job(
        "verify-cold", _VERIFY, verified, here="project", seconds=RUN_SECONDS, env={PLACE: ""},
    ),
)  # fmt: skip
"""The last imports torch in every fork server, as usual."""

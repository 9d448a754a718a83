"""porter beside quilt, StGit, git-revise and gbp pq: what a person types, and how long it takes.

    python bench/series_tools.py [--runs N] [--folder DIR] [--git-revise PROGRAM]

Eight jobs on one generated series: 10 patches on an upstream of 200 files. Every tool does a job as
its manual says; where it has no such job the table says "none", and the lines below say what one
does instead. A job counts only if the files and the number of patches at its end are porter's.
Runs are interleaved, from a copy of the same state; seconds are medians of the time that the
commands take (typing and editing take none). A tool that is not installed is said to be missing.
"""

from __future__ import annotations

import argparse
import datetime
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.small_project import message, sealed_git, write_files  # noqa: E402

FILES, PATCHES, LINES = 200, 10, 60
MIDDLE, ITS_FILE, ITS_OTHER = "step-05", "d7/f15.py", "d0/f16.py"
IN_CONFLICT = "d4/f12.py"


def name_of(number: int) -> str:
    return f"d{number % 8}/f{number}.py"


@dataclass
class Source:
    """The generated upstream (commits v1 and v2) and the series on v1: mails and a quilt folder."""

    folder: Path
    files: dict[str, list[str]] = field(default_factory=dict)

    def make(self) -> None:
        rand = random.Random(1)
        self.files = {
            name_of(n): [f"line {k} of {n}: {rand.random()}\n" for k in range(LINES)]
            for n in range(FILES)
        }
        self._make_upstream(rand)
        work = self.folder / "series"
        sealed_git(self.folder, "clone", "--quiet", "--branch", "v1", "up.git", str(work))
        for number in range(1, PATCHES + 1):
            write_files(work, {name: "".join(lines) for name, lines in self.edits(number).items()})
            sealed_git(work, "commit", "-qam", message(f"step-{number:02}", f"step-{number:02}"))
        mails = sealed_git(work, "format-patch", "--stdout", "v1")
        (self.folder / "series.mbox").write_text(mails)
        quilt = self.folder / "theirs"
        quilt.mkdir()
        for number, each in enumerate(sealed_git(work, "rev-list", "--reverse", "v1..").split(), 1):
            text = sealed_git(work, "show", "--format=email", each)
            (quilt / f"step-{number:02}.patch").write_text(text)
        names = (f"step-{number:02}.patch\n" for number in range(1, PATCHES + 1))
        (quilt / "series").write_text("".join(names))
        (self.folder / "message").write_text(message("first", "first"))

    def _make_upstream(self, rand: random.Random) -> None:
        work = self.folder / "upstream"
        work.mkdir()
        sealed_git(work, "init", "--quiet", "--initial-branch=main")
        write_files(work, {name: "".join(lines) for name, lines in self.files.items()})
        sealed_git(work, "add", ".")
        sealed_git(work, "commit", "--quiet", "-m", "one")
        sealed_git(work, "tag", "v1")
        sealed_git(self.folder, "clone", "--quiet", "--bare", "upstream", "up.git")
        for key in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
            sealed_git(self.folder / "up.git", "config", key, "true")
        later = {
            name_of(n): list(self.files[name_of(n)]) for n in rand.sample(range(40, FILES), 40)
        }
        later[name_of(0)] = ["# new at the top\n", "\n", *self.files[name_of(0)]]
        later[IN_CONFLICT] = list(self.files[IN_CONFLICT])
        later[IN_CONFLICT][20] = "changed by the upstream\n"
        for name, lines in later.items():
            lines[45] = f"new in {name}\n"
        write_files(work, {name: "".join(lines) for name, lines in later.items()})
        sealed_git(work, "commit", "-qam", "two")
        sealed_git(work, "tag", "v2")

    def edits(self, number: int) -> dict[str, list[str]]:
        """Change two files of its own and one that all patches change, apart from each other."""
        changed = {}
        for name, at in ((name_of(3 * number), 20), (name_of(3 * number + 1), 30)):
            self.files[name][at] = f"changed by {number}\n"
            changed[name] = self.files[name]
        self.files[name_of(0)][5 * number] = f"changed by {number}\n"
        return changed | {name_of(0): self.files[name_of(0)]}

    def publish_next(self) -> None:
        sealed_git(
            self.folder / "upstream", "push", "--quiet", "--tags", str(self.folder / "up.git")
        )

    def withdraw_next(self) -> None:
        sealed_git(self.folder / "up.git", "tag", "--delete", "v2")


@dataclass(frozen=True)
class Edit:
    """Something done in an editor. ``how`` says it; the file is then as ``change`` makes it."""

    how: str
    change: Callable[[Path], None]


@dataclass(frozen=True)
class Line:
    """A command as typed. ``todo`` is what the person does in the editor that it opens."""

    text: str
    stops: bool = False
    todo: str = ""
    typed: str = ""


Step = Edit | Line | str


def replace_line(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new))

    return change


def resolve(folder: Path) -> None:
    """Write what both sides mean; a rejected hunk's file goes."""
    path = folder / IN_CONFLICT
    lines, text, inside = [], path.read_text().splitlines(keepends=True), False
    for line in text:
        if line.startswith("<<<<<<<"):
            inside = True
            lines.append("changed by both\n")
        elif line.startswith(">>>>>>>"):
            inside = False
        elif not inside:
            lines.append("changed by both\n" if line == "changed by the upstream\n" else line)
    path.write_text("".join(lines))


FIRST = Edit("edit d3/f3.py", replace_line("d3/f3.py", "line 20 of 3:", "begun: line 20 of 3:"))
MEND = Edit(f"edit {ITS_FILE}", replace_line(ITS_FILE, "changed by 5\n", "mended in 5\n"))
RESOLVE = Edit(f"edit {IN_CONFLICT}", resolve)
SERIES = "patches/series"


def move_in_series(folder: Path) -> None:
    names = (folder / SERIES).read_text().split()
    names.remove("step-08.patch")
    names.insert(names.index("step-03.patch"), "step-08.patch")
    (folder / SERIES).write_text("".join(f"{name}\n" for name in names))


@dataclass(frozen=True)
class Tool:
    """A tool: how its state is made, what is typed for each job, and where its files are then.

    ``jobs`` has for each job the steps, and whether the tool itself has such a job.
    """

    name: str
    program: str
    setup: tuple[str, ...]
    jobs: dict[str, tuple[bool, tuple[Step, ...]]]
    work: str = "work"
    count: str = "git rev-list --count v1..HEAD"


JOBS = {
    "start": "start a series on an upstream",
    "mend": "mend a middle patch",
    "reorder": "move patch 8 below patch 3",
    "split": "split patch 5 by files",
    "drop": "drop patch 6",
    "import": "take a folder of patches in",
    "rebase": "move to a new upstream, one conflict",
    "undo": "undo the last change (a drop)",
}
CLONE = "git clone --quiet --branch v1 ../up.git work"
PORTER = Tool(
    "porter",
    "porter",
    (
        "porter init . && porter add ../up.git --commit v1 --name up",
        "porter import up ../series.mbox",
        "porter apply up work",
    ),
    {
        "start": (True, (
            "porter init", "porter add ../up.git --commit v1 --name up", "porter apply up work",
            "cd work", FIRST, "porter new first -F ../../message",
        )),
        "mend": (True, (f"porter goto {MIDDLE}", MEND, "porter refresh", "porter goto 10")),
        "reorder": (True, ("porter move step-08 --before step-03",)),
        "split": (True, (f"porter split {MIDDLE} step-05-first {ITS_FILE}",)),
        "drop": (True, ("porter drop step-06",)),
        "import": (True, (
            "porter init", "porter add ../up.git --commit v1 --name up",
            "porter import up ../theirs", "porter apply up work",
        )),
        "rebase": (True, (
            Line("porter rebase --onto v2", stops=True), RESOLVE, f"git add {IN_CONFLICT}",
            "porter rebase --continue",
        )),
        "undo": (True, ("porter undo",)),
    },
    count="ls ../patches/up/*.patch | wc -l",
)  # fmt: skip
QUILT = Tool(
    "quilt",
    "quilt",
    (CLONE, "cd work && cp -r ../../theirs patches && quilt push -aq && cd patches && git init -q"
     " && git add . && git commit -qm series"),
    {
        "start": (True, (
            CLONE, "cd work", "quilt new first.patch", "quilt add d3/f3.py", FIRST,
            "quilt refresh", "quilt header -r < ../../message",
        )),
        "mend": (True, (f"quilt pop {MIDDLE}.patch", MEND, "quilt refresh", "quilt push -a")),
        "reorder": (False, (
            "quilt pop step-02.patch", Edit(f"edit {SERIES}", move_in_series), "quilt push -a",
        )),
        "split": (False, (
            "quilt pop step-04.patch", "quilt new step-05-first.patch", f"quilt add {ITS_FILE}",
            f"filterdiff -i '*/{ITS_FILE}' patches/{MIDDLE}.patch | patch -p1", "quilt refresh",
            f"filterdiff -x '*/{ITS_FILE}' patches/{MIDDLE}.patch > rest",
            f"mv rest patches/{MIDDLE}.patch", "quilt push -a",
        )),
        "drop": (True, ("quilt pop step-05.patch", "quilt delete -rn", "quilt push -a")),
        "import": (True, (CLONE, "cd work", "cp -r ../../theirs patches", "quilt push -a")),
        "rebase": (False, (
            "quilt pop -a", "git fetch --quiet --tags", "git checkout --quiet v2",
            Line("quilt push -a", stops=True), Line("quilt push -f -m", stops=True), RESOLVE,
            "quilt refresh", "quilt push -a",
        )),
        "undo": (False, (
            "quilt pop -a", "git -C patches checkout --quiet .", "quilt push -a",
        )),
    },
    count="quilt series | wc -l",
)  # fmt: skip
STGIT = Tool(
    "StGit",
    "stg",
    (CLONE, "cd work && git checkout -qb port && stg init && stg import -M ../../series.mbox"),
    {
        "start": (True, (
            CLONE, "cd work", "git checkout -b port", "stg init", "stg new -f ../../message first",
            FIRST, "stg refresh",
        )),
        "mend": (True, (MEND, f"stg refresh -p {MIDDLE}")),
        "reorder": (True, ("stg sink -t step-03 step-08",)),
        "split": (False, (
            "stg goto step-04", "stg new -f ../../message step-05-first",
            f"stg pick --fold --file {ITS_FILE} {MIDDLE}", "stg refresh", "stg push -a",
        )),
        "drop": (True, ("stg delete step-06",)),
        "import": (True, (
            CLONE, "cd work", "git checkout -b port", "stg init",
            "stg import -s ../../theirs/series",
        )),
        "rebase": (True, (
            "git fetch --quiet --tags", "stg rebase --nopush v2",
            Line("stg push -a", stops=True), RESOLVE,
            f"git add {IN_CONFLICT}", "stg refresh", "stg push -a",
        )),
        "undo": (True, ("stg undo",)),
    },
    count="stg series --noprefix | wc -l",
)  # fmt: skip
GIT_DROP = "git rebase --onto HEAD~5 HEAD~4"
REVISE = Tool(
    "git-revise",
    "git-revise",
    (CLONE, "cd work && git checkout -qb port && git am -q ../../series.mbox"),
    {
        "start": (False, (
            CLONE, "cd work", "git checkout -b port", FIRST, "git commit -aF ../../message",
        )),
        "mend": (True, (MEND, "git revise -a HEAD~5")),
        "reorder": (True, (Line("git revise -i HEAD~10", todo="move"),)),
        "split": (True, (Line("printf 'n\\ny\\nn\\n' | git revise -c HEAD~5", todo="keep",
                              typed="git revise -c HEAD~5"),)),
        "drop": (False, (GIT_DROP,)),
        "import": (False, (
            CLONE, "cd work", "git checkout -b port", "git quiltimport --patches ../../theirs",
        )),
        "rebase": (False, (
            "git fetch --quiet --tags", Line("git rebase --onto v2 v1", stops=True), RESOLVE,
            f"git add {IN_CONFLICT}", "git rebase --continue",
        )),
        "undo": (False, ("git reset --hard @{1}",)),
    },
    count="git rev-list --count $(git describe --tags --abbrev=0)..HEAD",
)  # fmt: skip
DEBIAN = "git checkout -b debian/latest"
CONTROL = "echo 'Source: up' > debian/control"
EXPORT = "gbp pq export"
GBP = Tool(
    "gbp pq",
    "gbp",
    (
        f"{CLONE} && cd work && {DEBIAN} && mkdir debian && cp -r ../../theirs debian/patches",
        f"cd work && {CONTROL} && git add debian && git commit -qm debian && gbp pq import",
    ),
    {
        "start": (True, (
            CLONE, "cd work", DEBIAN, "mkdir debian", CONTROL, "git add debian",
            "git commit -m debian", "gbp pq import", FIRST, "git commit -aF ../../message", EXPORT,
        )),
        "mend": (False, (
            MEND, "git commit -a --fixup HEAD~5",
            Line("git rebase -i --autosquash HEAD~11", todo="keep"), EXPORT,
        )),
        "reorder": (False, (Line("git rebase -i HEAD~10", todo="move"), EXPORT)),
        "split": (False, (
            Line("git rebase -i HEAD~6", todo="edit"), "git reset HEAD~", f"git add {ITS_FILE}",
            "git commit -F ../../message", "git add -u", "git commit -C ORIG_HEAD",
            "git rebase --continue", EXPORT,
        )),
        "drop": (False, (GIT_DROP, EXPORT)),
        "import": (True, (
            CLONE, "cd work", DEBIAN, "mkdir debian", CONTROL, "cp -r ../../theirs debian/patches",
            "git add debian", "git commit -m debian", "gbp pq import",
        )),
        "rebase": (True, (
            "git fetch --quiet --tags", "gbp pq switch", "git merge --no-edit v2",
            Line("gbp pq rebase", stops=True), RESOLVE, f"git add {IN_CONFLICT}",
            "git rebase --continue", EXPORT,
        )),
        "undo": (False, ("gbp pq switch", "git reset --hard @{1}", EXPORT)),
    },
    count="git rev-list --count debian/latest..HEAD",
)  # fmt: skip
TOOLS = (PORTER, QUILT, STGIT, REVISE, GBP)

EDITOR = """\
import os, sys
what, path = os.environ.get("BENCH_TODO", "keep"), sys.argv[1]
lines = open(path).read().splitlines(keepends=True)
rows = [at for at, line in enumerate(lines) if line.startswith(("pick ", "++ pick"))]
if what == "move" and rows:
    line = lines.pop(rows[7])
    lines.insert(rows[2], line)
elif what == "edit" and rows:
    lines[rows[0]] = lines[rows[0]].replace("pick", "edit", 1)
open(path, "w").write("".join(lines))
"""
SAID = {
    "move": "move line 8 above line 3",
    "edit": "`edit` for `pick` in line 1",
    "keep": "save as it is",
}


class Bench:
    """The folders of one bench: a job runs on ``live/TOOL``, and ``kept/TOOL`` is its state."""

    def __init__(self, top: Path, revise: str) -> None:
        self.top = top
        self.source = Source(top / "live")
        self.source.folder.mkdir()
        editor = top / "editor.py"
        editor.write_text(EDITOR)
        tools = [str(Path(sys.executable).parent), *([str(Path(revise).parent)] if revise else [])]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "QUILT"))}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        config = top / "gitconfig"
        config.write_text("[user]\n\tname = Ada\n\temail = ada@example.org\n[advice]\n"
                          "\tdetachedHead = false\n[init]\n\tdefaultBranch = main\n")  # fmt: skip
        self.env = env | {
            "PATH": os.pathsep.join([*tools, env["PATH"]]),
            "GIT_CONFIG_GLOBAL": str(config), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(top),
            "EDITOR": f"{sys.executable} {editor}", "GIT_EDITOR": f"{sys.executable} {editor}",
            "PYTHONPYCACHEPREFIX": str(top / "pyc"),  # as installed: byte-compiled
            "QUILT_PATCHES": "patches", "QUILT_PC": ".pc", "QUILT_PUSH_ARGS": "",
        }  # fmt: skip

    def folder(self, tool: Tool) -> Path:
        return self.top / "live" / tool.program

    def run(self, tool: Tool, command: str, folder: Path, todo: str = "") -> tuple[int, str, float]:
        env = self.env | {"PORTER_CACHE": str(self.folder(tool) / "cache"), "BENCH_TODO": todo}
        start = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, time.perf_counter() - start

    def prepare(self, tool: Tool) -> None:
        live = self.folder(tool)
        live.mkdir()
        for command in tool.setup:
            code, said, _ = self.run(tool, command, live)
            assert code == 0, (tool.name, command, said)
        shutil.copytree(live, self.top / "kept" / tool.program, symlinks=True)

    def restore(self, tool: Tool, job: str) -> Path:
        """Make the state that a job begins with; return the folder it is typed in."""
        live = self.folder(tool)
        shutil.rmtree(live)
        if job in ("start", "import"):
            live.mkdir()
            return live
        kept = self.top / "kept" / tool.program
        subprocess.run(["cp", "-a", str(kept), str(live)], check=True)
        work = live / tool.work
        if (work / ".git").exists():
            self.run(tool, "git update-index -q --refresh", work)
        if job == "undo":
            self.steps(tool, tool.jobs["drop"][1], work)
        return work

    def steps(self, tool: Tool, steps: tuple[Step, ...], folder: Path) -> tuple[float, Path]:
        total = 0.0
        for step in steps:
            if isinstance(step, Edit):
                step.change(folder)
                continue
            line = Line(step) if isinstance(step, str) else step
            if line.text.startswith("cd "):
                folder = folder / line.text[3:]
                continue
            code, said, took = self.run(tool, line.text, folder, line.todo)
            assert (code != 0) == line.stops, (tool.name, line.text, code, said)
            total += took
        return total, folder

    def job(self, tool: Tool, job: str) -> tuple[float, dict[str, str], int]:
        """Do a job; return its seconds, and the files and the number of patches at its end."""
        folder = self.restore(tool, job)
        if job == "rebase":
            self.source.publish_next()
        took, _ = self.steps(tool, tool.jobs[job][1], folder)
        if job == "rebase":
            self.source.withdraw_next()
        work = self.folder(tool) / tool.work
        if tool is GBP and job != "import":  # export leaves the branch of the packaging checked out
            self.run(tool, "git checkout -q -f patch-queue/debian/latest 2>/dev/null", work)
        files = {
            str(path.relative_to(work)): path.read_text()
            for path in sorted(work.glob("d[0-7]/*.py"))
        }
        code, said, _ = self.run(tool, tool.count, work)
        assert code == 0, (tool.name, said)
        return took, files, int(said.split()[-1])


def typed(steps: tuple[Step, ...]) -> Iterator[tuple[bool, str]]:
    """Yield what a person types, with whether it is a command."""
    for step in steps:
        if isinstance(step, Edit):
            yield False, f"# {step.how}"
            continue
        line = Line(step) if isinstance(step, str) else step
        yield True, (line.typed or line.text) + (f"  # {SAID[line.todo]}" if line.todo else "")


def measure(
    bench: Bench, tools: list[Tool], jobs: list[str], runs: int
) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of each job and tool. Raises AssertionError where a result differs."""
    took: dict[tuple[str, str], list[float]] = {}
    for _ in range(runs):
        for job in jobs:
            wanted = None
            for tool in tools:
                seconds, files, count = bench.job(tool, job)
                took.setdefault((job, tool.name), []).append(seconds)
                if wanted is None:
                    wanted = files, count
                differing = [name for name in files if files[name] != wanted[0].get(name)]
                assert (files, count) == wanted, (job, tool.name, count, wanted[1], differing[:5])
    return took


def report(tools: list[Tool], took: dict[tuple[str, str], list[float]]) -> Iterator[str]:
    yield "| job | " + " | ".join(tool.name for tool in tools) + " |"
    yield "| --- |" + " --- |" * len(tools)
    done = {job: title for job, title in JOBS.items() if (job, tools[0].name) in took}
    for job, title in done.items():
        cells = []
        for tool in tools:
            own, steps = tool.jobs[job]
            many = sum(is_command for is_command, _ in typed(steps))
            cell = f"{many}: {statistics.median(took[job, tool.name]):.2f} s"
            cells.append(cell if own else f"none ({cell})")
        yield f"| {title} | " + " | ".join(cells) + " |"
    for job, title in done.items():
        yield f"\n**{title[0].upper()}{title[1:]}**"
        for tool in tools:
            own, steps = tool.jobs[job]
            yield f"\n{tool.name}{'' if own else ' (none; instead)'}:\n"
            yield from (f"    {text}" for _, text in typed(steps))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--job", action="append", choices=[*JOBS], help="default: all")
    parser.add_argument("--folder", help="where to work (default: the temporary folder)")
    parser.add_argument("--git-revise", default="", help="the program, if it is not on PATH")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="porter-bench-", dir=args.folder) as folder:
        bench = Bench(Path(folder), args.git_revise)
        there = [tool for tool in TOOLS if shutil.which(tool.program, path=bench.env["PATH"])]
        for tool in TOOLS:
            if tool not in there:
                print(f"missing: {tool.name} (no {tool.program} on PATH)")
        bench.source.make()
        for tool in there:
            bench.prepare(tool)
        took = measure(bench, there, args.job or [*JOBS], args.runs)
    load = os.getloadavg()[0]
    print(f"{datetime.date.today()}: commands typed and seconds they take, medians of {args.runs}")
    print(f"interleaved runs; load {load:.1f} on {os.cpu_count()} cores\n")
    print("\n".join(report(there, took)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

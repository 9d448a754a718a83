"""Hostile files: a finding or one line of error, never a crash, and nothing written outside.

Each target has valid inputs, the first parser that meets them, and what porter does with what got
past it. Batches run in a child of their own, so that a signal, a hang and its memory are seen.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from porter.errors import PorterError
from tests.campaign.conftest import SEED, Count
from tests.campaign.forked import MEMORY, SECONDS
from tests.campaign.mutations import (
    as_json,
    changed_bytes,
    changed_diff,
    changed_header,
    changed_value,
)
from tests.campaign.stage import Stage
from tests.small_project import sealed_git

BATCH = 150
_TOOLS = re.compile(r"/(__pycache__|\.hypothesis)(/|$)")
PROJECT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """``place`` is the file, below the stage, or a pattern of which the first match is taken.
    ``first`` raises for what it refuses.
    """

    name: str
    place: str
    inputs: Callable[[bytes], st.SearchStrategy[bytes]]
    first: Callable[[Path, Stage], Any]
    deeper: Callable[[Path, Stage], Any]
    again: str = ""  # the part of the stage that is brought back after each input

    @property
    def slow(self) -> int:
        """How many times longer an input takes than one of the quick targets."""
        return 10 if self.place.startswith(_TRACE) else 5 if self.again else 1


def _text(valid: bytes) -> st.SearchStrategy[bytes]:
    return changed_bytes([valid])


def _mostly(values: st.SearchStrategy[bytes], valid: bytes) -> st.SearchStrategy[bytes]:
    """One in six is changed as text, not as a value."""
    return st.integers(0, 5).flatmap(lambda n: values if n else changed_bytes([valid]))


def _json(valid: bytes) -> st.SearchStrategy[bytes]:
    return _mostly(changed_value([json.loads(valid)]).map(as_json), valid)


def _yaml(valid: bytes) -> st.SearchStrategy[bytes]:
    return _mostly(changed_value([yaml.safe_load(valid)]).map(as_json), valid)  # JSON is YAML


def _patch(valid: bytes) -> st.SearchStrategy[bytes]:
    more = sorted((PROJECT / "patches").glob("*/*.patch"))[::9]
    seeds = [valid, valid, *(path.read_bytes() for path in more)]
    return st.one_of(changed_bytes(seeds), changed_diff(seeds), changed_diff([valid]))


def _header(valid: bytes) -> st.SearchStrategy[bytes]:
    return st.one_of(changed_bytes([valid]), changed_header([valid]))


def _run(*words: str) -> Callable[[Path, Stage], Any]:
    """Run a command line in process; unlike ``main`` it lets exceptions through."""

    def run(path: Path, stage: Stage) -> None:
        from porter.cli import run

        typed = [word.replace("{tree}", str(stage.tree)) for word in words]
        with contextlib.suppress(SystemExit):
            run(typed)

    return run


def _several(*steps: Callable[[Path, Stage], Any]) -> Callable[[Path, Stage], Any]:
    def run(path: Path, stage: Stage) -> None:
        for step in steps:
            with contextlib.suppress(PorterError, OSError):
                step(path, stage)

    return run


def _no_problem(problems: Sequence[object]) -> None:
    if problems:
        raise PorterError(str(problems[0]))


def _first_patch(path: Path, stage: Stage) -> None:
    from porter.series.series import read_patch

    patch = read_patch(path)
    _no_problem([*patch.problems, *patch.diff.doubtful])


def _first_header(path: Path, stage: Stage) -> None:
    from porter.series.header import parse_header

    _no_problem(parse_header(path.read_bytes())[1])


def _first_series(path: Path, stage: Stage) -> None:
    from porter.series.series import read_series_file

    _no_problem(read_series_file(path)[1])


def _first_yaml(path: Path, stage: Stage) -> None:
    from porter.yamlnodes import compose, read_bytes

    compose(read_bytes(path), path)


def _first_json(path: Path, stage: Stage) -> None:
    from porter.atomic import read_json

    read_json(path)


def _first_listing(path: Path, stage: Stage) -> None:
    from porter.upstream.pins import parse_listing

    parse_listing(path.read_bytes(), path)


def _recipe(path: Path, stage: Stage) -> None:
    from porter.verify.recipe.load import load_recipe

    load_recipe(path)


def _verdict(path: Path, stage: Stage) -> None:
    from porter.verify.cache.record import read_record

    read_record(path)


def _summed(step: Callable[[Path, Stage], Any]) -> Callable[[Path, Stage], Any]:
    """Let the sums of a trace be those of its files as they are: it was made so, not damaged."""

    def run(path: Path, stage: Stage) -> None:
        from porter.verify.harness.sums import write_sums

        write_sums(path.parent)
        step(path, stage)

    return run


def _first_trace(path: Path, stage: Stage) -> None:
    from porter.verify.harness.trace import BadTrace, read

    try:
        read(path.parent)
    except BadTrace as error:
        raise PorterError(str(error)) from None


def _first_rows(path: Path, stage: Stage) -> None:
    from porter.verify.harness.events import read_lines

    read_lines(path)


def _rows(valid: bytes) -> st.SearchStrategy[bytes]:
    """Change JSON lines."""
    rows = [json.loads(line) for line in valid.splitlines()]

    def built(value: Any) -> bytes:
        return b"".join(as_json(row) + b"\n" for row in value) if value else b""

    return _mostly(changed_value([rows]).map(built), valid)


def _tensors(valid: bytes) -> st.SearchStrategy[bytes]:
    """Change a safetensors file: a JSON header after its length, and bytes."""
    length = int.from_bytes(valid[:8], "little")
    header = json.loads(valid[8 : 8 + length])

    def built(value: Any) -> bytes:
        text = as_json(value)
        return len(text).to_bytes(8, "little") + text + valid[8 + length :]

    def flips(first: int) -> st.SearchStrategy[bytes]:
        return st.integers(first, len(valid) - 1).map(lambda at: _flipped(valid, at))

    values = flips(8 + length)  # other numbers in a file that can be read
    anywhere = st.one_of(changed_value([header]).map(built), flips(0), changed_bytes([valid]))
    return st.one_of(values, values, anywhere)


def _flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def _settle(path: Path, stage: Stage) -> None:
    from porter.project_change import settle_project

    settle_project(stage.project)


def _sdist(valid: bytes) -> st.SearchStrategy[bytes]:
    @st.composite
    def archives(draw: st.DrawFn) -> bytes:
        names = ["toy-1/setup.py", "toy-1/PKG-INFO", "toy-1/pkg/a.py"]
        members = draw(changed_value([[[name, "x = 1\n", "0"] for name in names]]))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for row in members if isinstance(members, list) else []:
                words = [str(word) for word in row] if isinstance(row, list) else [str(row)]
                name, text, kind = [*words, "x", "x", "0"][:3]
                member = tarfile.TarInfo(name.replace("\0", "") or "x")
                body = text.encode("utf-8", "replace")
                member.size = len(body)
                member.type = kind[:1].encode("ascii", "replace") or b"0"
                member.linkname = "../../outside"
                with contextlib.suppress(ValueError, UnicodeError):
                    tar.addfile(member, io.BytesIO(body))
        return buffer.getvalue()

    return st.one_of(archives(), archives(), archives().flatmap(lambda a: changed_bytes([a])))


def _first_sdist(path: Path, stage: Stage) -> None:
    try:
        with tarfile.open(path, "r:gz") as tar:
            tar.getmembers()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        raise PorterError(str(error)) from None


def _release(path: Path, stage: Stage) -> None:
    from porter.upstream.gitfetch import FetchFailed
    from porter.upstream.sdist import read_release

    with contextlib.suppress(FetchFailed):
        read_release(path, None)


def _history_message(valid: bytes) -> st.SearchStrategy[bytes]:
    return changed_bytes([b"refresh x\n\nFrom: " + b"0" * 40 + b"\nAt: HEAD\nRedo: HEAD HEAD\n"])


def _history(path: Path, stage: Stage) -> None:
    """Make the bytes the message of the newest state."""
    from porter.editing.history import History
    from porter.git.run import run_git

    history = History(stage.project, "toy")
    tip = history.tip()
    assert tip is not None
    where = f"--git-dir={history.git_dir}"
    text = path.read_bytes().replace(b"HEAD", tip.oid.encode()).replace(b"\0", b"")
    form = ("commit-tree", "-p", tip.oid, "-F", "-", f"{tip.oid}^{{tree}}")
    made = run_git([where, *form], cwd=history.git_dir, stdin=text).text
    run_git([where, "update-ref", history._ref, made], cwd=history.git_dir)


_CHECKED = _several(_run("lint", "toy", "--files-only"), _run("check", "toy"), _run("list"))
_JUDGED = _several(_run("judge", "toy"), _run("report", "toy", "--format", "json"),
                   _run("report", "toy", "-o", "tmp/page.html"))  # fmt: skip
_TRACE = "cache/traces/toy/tiny/*"
TARGETS = (
    Target("patch", "project/patches/toy/0002-add-new.patch", _patch, _first_patch, _CHECKED),
    Target("header", "project/patches/toy/0001-widen-a.patch", _header, _first_header,
           _run("lint", "toy", "--files-only")),
    Target("series", "project/patches/toy/series", _text, _first_series, _CHECKED),
    Target("pins", "project/upstream_pins.yaml", _yaml, _first_yaml,
           _several(_run("list"), _run("lint", "--files-only"), _run("check", "toy"))),
    Target("listing", "project/patches/toy/upstream.listing", _text, _first_listing, _CHECKED),
    Target("lock", "project/patches/toy/levels.lock", _json, _first_json, _run("check", "toy")),
    Target("recipe", "project/recipes/toy/tiny.yaml", _yaml, _first_yaml, _recipe),
    Target("verdicts", "record.json", _json, _first_json, _verdict),
    Target("tree.json", "work/toy/.git/porter/tree.json", _json, _first_json,
           _several(_run("status", "{tree}"), _run("log", "-C", "{tree}"), _run("next", "{tree}"),
                    _run("refresh", "{tree}", "--check")), "work"),
    Target("move.json", "work/toy/.git/porter/move.json", _json, _first_json,
           _several(_run("status", "{tree}"), _run("goto", "1", "{tree}")), "work"),
    Target("edit.json", "work/toy/.git/porter/edit.json", _json, _first_json,
           _several(_run("status", "{tree}"), _run("refresh", "{tree}", "--abort")), "work"),
    Target("journal.json", "project/patches/.change/journal.json", _json, _first_json, _settle,
           "project"),
    Target("history", "message", _history_message, lambda path, stage: None,
           _several(_history, _run("undo", "toy", "--list"), _run("undo", "toy"),
                    _run("redo", "toy")), "cache"),
    Target("trace.json", f"{_TRACE}/trace.json", _json, _summed(_first_trace), _JUDGED),
    Target("tensors", f"{_TRACE}/tensors.safetensors", _tensors, _summed(_first_trace), _JUDGED),
    Target("printed.json", f"{_TRACE}/printed.json", _json, _summed(_first_trace), _JUDGED),
    Target("events", f"{_TRACE}/events.jsonl", _rows, _summed(_first_rows), _JUDGED),
    Target("calls", f"{_TRACE}/migration.jsonl", _rows, _summed(_first_rows), _JUDGED),
    Target("sdist", "toy-1.tar.gz", _sdist, _first_sdist, _release),
)  # fmt: skip


@pytest.fixture(scope="session")
def fuzzed(base: Stage) -> Stage:
    """The stage with one valid file for each target."""
    base.back("base")
    for folder in ("project/recipes/toy", "project/patches/.change"):
        (base.top / folder).mkdir(parents=True)
    recipe = PROJECT / "recipes" / "v-diffusion"
    for path in sorted(recipe.glob("*.py")):
        shutil.copy(path, base.project / "recipes" / "toy" / path.name)
    text = sorted(recipe.glob("*.yaml"))[0].read_bytes()
    (base.project / "recipes/toy/tiny.yaml").write_bytes(text)
    (base.top / "toy-1.tar.gz").write_bytes(b"")
    (base.top / "message").write_bytes(b"")
    (base.top / "record.json").write_bytes(as_json(_record()))
    bare = base.upstreams.folder / "toy.git"
    listing = sealed_git(bare, "ls-tree", "-r", base.upstreams.commits["toy"])
    (base.project / "patches/toy/upstream.listing").write_text(listing)
    heads = [base.git("rev-parse", f"{name}^{{commit}}").strip() for name in ("HEAD", "HEAD~1")]
    move: dict[str, Any] = {"what": "goto 1", "head_from": heads[0], "head_to": heads[1]}
    for part in ("work", "index"):
        move |= {f"{part}_from": heads[0], f"{part}_to": heads[1]}
    state = base.tree / ".git" / "porter"
    base.keep("fuzz")
    (state / "move.json").write_bytes(as_json(move))
    session = {
        "what": "refresh x", "head": heads[0], "branch": None, "work": heads[0],
        "index": heads[0], "base": heads[1], "stay": "add-new", "levels": ["widen-a", "add-new"],
        "left": [heads[0]], "off": [], "dropped": [], "pins": None, "renamed": {}, "report": {},
        "saved": "", "saved_at": 0,
    }  # fmt: skip
    (state / "edit.json").write_bytes(as_json(session))
    (base.project / "patches/.change/0").write_text("new\n")
    rows = [
        {"path": "patches/toy/series", "was": "0" * 64, "staged": "0"},
        {"path": "docs/new.md", "was": None, "staged": "0"},
        {"path": "patches/toy/levels.lock", "was": "0" * 64, "staged": None},
    ]
    (base.project / "patches/.change/journal.json").write_bytes(as_json(rows))
    base.keep("fuzz with records")
    base.back("fuzz")
    return base


@pytest.fixture(scope="session")
def traced(base: Stage, runs: str) -> Stage:
    """The stage after a verification, each trace with events and CUDA calls."""
    import porter.verify.harness.trace  # noqa: F401 (imports torch, once for all batches)
    from porter.verify.harness.sums import write_sums

    base.back(runs)
    event = {
        "kind": "h2d", "what": "aten::copy_", "site": "pkg/a.py:3", "source": "a3 = 3",
        "detail": "", "count": 2,
    }  # fmt: skip
    graph = {
        "kind": "compilation", "number": 2, "ops": 7, "why": "mark_step", "site": "pkg/a.py:4",
        "nearest": 1, "differs": ["an op more"], "from_disk": False,
    }  # fmt: skip
    warning = {"kind": "warning", "what": "slow"}
    call = {
        "file": "pkg/a.py", "line": 3, "source": "x.cuda()", "kind": "call", "asked": "cuda",
        "served": "hpu",
    }  # fmt: skip
    for head in (base.top / "cache" / "traces").glob("*/*/*/trace.json"):
        for name, rows in (("events", [event, graph, warning]), ("migration", [call])):
            text = b"".join(as_json(row) + b"\n" for row in rows)
            (head.parent / f"{name}.jsonl").write_bytes(text)
        write_sums(head.parent)
    base.keep("fuzz traces")
    return base


def _record() -> dict[str, Any]:
    """Return a record of a verification without runs."""
    level = {"number": 1, "name": "widen-a", "tree": "0" * 40}
    return {
        "format": 2, "key": "k", "port": "toy", "recipe": "tiny", "text": "version: 1\n",
        "levels": [{**level, "number": 0, "name": "upstream"}, level],
        "companions": [["mate", level]], "chosen": [0, 1], "asked": ["cpu"], "runs": [],
        "verdicts": [], "threads": None,
    }  # fmt: skip


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_hostile_files_are_refused_in_words(
    request: pytest.FixtureRequest, target: Target, count: Count
) -> None:
    is_trace = target.place.startswith(_TRACE)
    fuzzed: Stage = request.getfixturevalue("traced" if is_trace else "fuzzed")
    name = "fuzz traces" if is_trace else "fuzz with records"
    valid = next((fuzzed.kept / name).glob(target.place)).read_bytes()
    batch = 0
    while batch == 0 or count.goes_on(batch):
        batch += 1
        fuzzed.back("fuzz traces" if is_trace else "fuzz")
        status, used, told = _in_child(fuzzed, target, valid, batch)
        count.rows["inputs"] += told.get("inputs", 0)
        count.rows["past the first parser"] += told.get("past", 0)
        assert not told.get("fell"), told["fell"]
        assert status == 0, f"{target.name}: the child ended with {status}; seed {SEED}-{batch}"
        assert used.ru_maxrss * 1024 < MEMORY


def _in_child(
    stage: Stage, target: Target, valid: bytes, batch: int
) -> tuple[int, resource.struct_rusage, dict[str, Any]]:
    report = stage.kept / "fuzz-report"
    report.unlink(missing_ok=True)
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        told: dict[str, Any] = {"inputs": 0, "past": 0, "fell": ""}
        try:
            _batch(stage, target, valid, batch, told)
        except BaseException:
            text = traceback.format_exc()
            told["fell"] = f"{text[:2500]}\n...\n{text[-1500:]}"
        report.write_text(json.dumps(told))
        os._exit(0)
    _, status, used = os.wait4(pid, 0)
    told = json.loads(report.read_text()) if report.exists() else {}
    return os.waitstatus_to_exitcode(status), used, told


def _batch(stage: Stage, target: Target, valid: bytes, batch: int, told: dict[str, Any]) -> None:
    place = target.place
    if "*" in place:
        folder = next(stage.top.glob(f"{_TRACE}/trace.json")).parent
        place = str(folder / Path(place).name)
    os.environ.clear()
    os.environ.update({**stage.env, "PORTER_ROOT": str(stage.project)})
    os.chdir(stage.top)
    tempfile.tempdir = None
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    sys.stdout = sys.stderr = os.fdopen(1, "w", closefd=False)
    resource.setrlimit(resource.RLIMIT_CPU, (600, 600))
    inside = (str(stage.top), str(stage.kept), "/dev", "/proc")
    path, outside = stage.top / place, list[str]()

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event in ("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link"):
            names = args[:1] if event in ("os.remove", "os.mkdir") else args[:2]
        elif event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            names = args[:1]
        else:
            return
        for name in names:
            if isinstance(name, str | bytes):
                full = os.path.realpath(os.fsdecode(name))
                if not full.startswith(inside) and not _TOOLS.search(full):
                    outside.append(f"{event} {full}")

    sys.addaudithook(hook)

    @seed(zlib.crc32(f"{SEED} {target.name} {batch}".encode()))
    @settings(
        max_examples=BATCH // target.slow, database=None, deadline=None,
        derandomize=False,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(target.inputs(valid))
    def fuzz(data: bytes) -> None:
        if target.again:
            _back(stage, target.again)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        began = time.monotonic()
        signal.alarm(int(SECONDS * 3))
        told["inputs"] += 1
        try:
            target.first(path, stage)
            told["past"] += 1
        except (PorterError, OSError, ValueError, RecursionError):
            pass
        try:
            target.deeper(path, stage)
        except (PorterError, OSError):
            pass
        except Exception as error:
            raise AssertionError(f"{target.name}: {data[:700]!r}") from error
        signal.alarm(0)
        assert time.monotonic() - began < SECONDS * 3, data[:3000]
        assert not outside, (outside, data[:3000])

    fuzz()


def _back(stage: Stage, part: str) -> None:
    source = stage.kept / ("fuzz with records" if part == "project" else "fuzz") / part
    shutil.rmtree(stage.top / part)
    shutil.copytree(source, stage.top / part, symlinks=True)

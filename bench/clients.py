"""Run published code that uses the vendors' packages on the simulated devices, and print tables.

    python bench/clients.py names hpu CHECKOUT...      # names that exist here, by file
    python bench/clients.py bridge CHECKOUT [--per-test N] [--files PATTERN ...] [--output FILE]

Nothing is fetched: a CHECKOUT is a folder, or a git directory of which the newest commit is read;
``@REV`` names another. *names* parses every Python file and looks up what it uses of the vendor's
package. *bridge* runs the vendor's own tests (``tests/pytest_working``), at most N parameters of
each test function, each file in a process of its own, and counts what became of them.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from porter.device.sim.contract.releases import SIMULATED

BRIDGE_TESTS = "tests/pytest_working"
_SECONDS = 240
KINDS = tuple(name.removeprefix("sim:") for name in SIMULATED if name != "sim:cuda")


@dataclass(frozen=True)
class Source:
    """The files of a client: a folder, or a revision in a git directory."""

    path: Path
    revision: str = "HEAD"

    @classmethod
    def of(cls, word: str) -> Source:
        path, _, revision = word.partition("@")
        return cls(Path(path), revision or "HEAD")

    @property
    def is_git(self) -> bool:
        return (self.path / "HEAD").is_file()

    @property
    def title(self) -> str:
        name = self.path.parent.name if self.path.name == "repo" else self.path.name
        return name if self.revision == "HEAD" else f"{name} {self.revision}"

    def export(self, folder: Path, *paths: str) -> Path:
        """Write the files into a folder, or return the one that they are in."""
        if not self.is_git:
            return self.path
        command = ["git", f"--git-dir={self.path}", "archive", self.revision, "--", *paths]
        packed = subprocess.run(command, check=True, capture_output=True).stdout
        subprocess.run(["tar", "x", "-C", str(folder)], input=packed, check=True)
        return folder

    def python_files(self) -> Iterator[tuple[str, str]]:
        """Yield path and text of every Python file."""
        if not self.is_git:
            for path in sorted(self.path.rglob("*.py")):
                yield str(path), path.read_text(encoding="utf-8", errors="replace")
            return
        git = ["git", f"--git-dir={self.path}"]
        listed = subprocess.run(
            [*git, "grep", "-lE", "habana_frameworks|torch_npu", self.revision, "--", "*.py"],
            check=False, capture_output=True, text=True,
        ).stdout.splitlines()  # fmt: skip
        for name in listed:
            shown = subprocess.run([*git, "show", name], check=False, capture_output=True).stdout
            yield name, shown.decode("utf-8", "replace")


@dataclass
class Names:
    """How many of a client's files find all their names here."""

    files: int = 0
    whole: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    """By name, the files that miss it."""


def names_by_file(source: Source, kind: str) -> Names:
    """Look the vendor's names of each file up in the simulated packages, which are active."""
    from porter.device.sim.contract.client import VENDORS, names_used
    from porter.device.sim.vendors.stub_module import look_up

    known: dict[str, bool] = {}
    found = Names()
    for _, text in source.python_files():
        if not any(root.split(".")[-1] in text for root in VENDORS[kind]):
            continue
        try:
            used = names_used(ast.parse(text), kind)
        except (SyntaxError, ValueError):
            continue  # Python 2, or a template
        if not any(name.split(".")[0] in ("habana_frameworks", "torch_npu") for name in used):
            continue
        missing = set()
        for name in used:
            if name not in known:
                known[name] = look_up(name)[0]
            if not known[name]:
                missing.add(name)
        found.files += 1
        found.whole += not missing
        found.missing.update(missing)
    return found


def _names(kind: str, words: list[str], most: int) -> None:
    os.environ.setdefault("PT_HPU_LAZY_MODE", "1")
    from porter.device import open_device

    open_device(f"sim:{kind}").prepare()
    kind = kind.partition("@")[0]
    print(
        f"| client | files that use {kind} names | all found here | most frequent missing names |"
    )
    print("| --- | ---: | ---: | --- |")
    for word in words:
        source = Source.of(word)
        found = names_by_file(source, kind)
        share = f"{found.whole} ({100 * found.whole / max(found.files, 1):.0f} %)"
        worst = ", ".join(f"`{name}` {count}" for name, count in found.missing.most_common(most))
        print(f"| {source.title} | {found.files} | {share} | {worst} |", flush=True)


PLUGIN = """
import json, os, sys
from collections import Counter
seen, out = Counter(), open(os.environ["PORTER_CLIENT_RESULTS"], "a")
most = int(os.environ["PORTER_CLIENT_PER_TEST"])

def pytest_collection_modifyitems(config, items):
    kept = []
    for item in items:
        key = item.nodeid.partition("[")[0]
        seen[key] += 1
        if seen[key] <= most:
            kept.append(item)
    items[:] = kept

def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        text = "" if report.passed else str(getattr(report, "longrepr", ""))[-2000:]
        out.write(json.dumps([report.nodeid, report.outcome, text]) + "\\n")
        out.flush()

def pytest_collectreport(report):
    if report.failed:
        out.write(json.dumps([report.nodeid, "collect", str(report.longrepr)[-2000:]]) + "\\n")
        out.flush()
"""


def outcome_of(outcome: str, text: str) -> str:
    """Return the column of the table for a test: pass, skip, or why it failed."""
    if outcome in ("passed", "skipped"):
        return outcome
    if "is not in porter's simulated module" in text or "has no attribute" in text:
        return "missing name"
    if re.search(r"ModuleNotFoundError|fixture '|ConnectionError|No such file", text):
        return "harness"
    return "missing name (file)" if outcome == "collect" else "behaves differently"


def _bridge(
    word: str, per_test: int, patterns: Sequence[str], device: str, output: Path | None
) -> None:
    source = Source.of(word)
    table: Counter[str] = Counter()
    missing: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tests = source.export(folder, "tests") / BRIDGE_TESTS
        (folder / "porter_client_plugin.py").write_text(PLUGIN)
        files = sorted(file for pattern in patterns for file in tests.glob(pattern))
        for file in files:
            results = folder / "results.jsonl"
            results.unlink(missing_ok=True)
            environ = {
                **os.environ, "PT_HPU_LAZY_MODE": "1", "PORTER_CLIENT_RESULTS": str(results),
                "PORTER_CLIENT_PER_TEST": str(per_test),
                "PYTHONPATH": f"{folder}:{tests}:{file.parent}",
            }  # fmt: skip
            command = [
                sys.executable, "-m", "porter", "run", "--device", device, "--quiet", "--",
                "-m", "pytest", "-q", "-p", "porter_client_plugin", "-p", "no:cacheprovider",
                "-c", os.devnull, "--rootdir", str(tests), str(file),
            ]  # fmt: skip
            try:
                subprocess.run(
                    command,
                    cwd=tests,
                    env=environ,
                    capture_output=True,
                    timeout=_SECONDS,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                table["time (file)"] += 1
            lines = results.read_text().splitlines() if results.is_file() else []
            if output is not None:
                with output.open("a", encoding="utf-8") as kept:
                    kept.writelines(f"{line}\n" for line in lines)
            for _, outcome, text in map(json.loads, lines):
                table[outcome_of(outcome, text)] += 1
                found = re.search(r"(\S+) is not in porter's simulated module", text)
                missing.update([found[1]] if found else [])
    print("| outcome | tests |\n| --- | ---: |")
    for outcome, count in sorted(table.items()):
        print(f"| {outcome} | {count} |")
    print(", ".join(f"`{name}` {count}" for name, count in missing.most_common(30)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    names = commands.add_parser("names", help="names that exist here, by file")
    names.add_argument("kind", choices=KINDS, help="a simulated device, or a release of one")
    names.add_argument("checkouts", nargs="+")
    names.add_argument("--most", type=int, default=8, help="how many missing names to print")
    bridge = commands.add_parser("bridge", help="the bridge's own tests")
    bridge.add_argument("checkout")
    bridge.add_argument("--per-test", type=int, default=3, help="parameters of a test function")
    bridge.add_argument(
        "--files",
        nargs="+",
        default=["any_mode/test_*.py", "lazy/test_*.py"],
        help="globs in tests/pytest_working",
    )
    bridge.add_argument(
        "--output", type=Path, help="append what each test came to, as lines of JSON"
    )
    args = parser.parse_args()
    if args.command == "names":
        _names(args.kind, args.checkouts, args.most)
    else:
        _bridge(args.checkout, args.per_test, args.files, "sim:hpu", args.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())

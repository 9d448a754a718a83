"""Run a command on the simulated devices, each in its own process, and collect what it counted.

The command runs in a copy of the folder, so nothing that it writes stays; files over
:data:`LARGE` bytes are links. Where the code imports no vendor's package, the vendor's migration
serves its CUDA calls, as one tries a model before porting it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from porter.errors import BadInput
from porter.scan.measuring.kinds import KINDS
from porter.scan.reading.folders import is_skipped
from porter.scan.reading.rule import Device
from porter.scratch import scratch_folder

LARGE = 16 << 20
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)\Z", re.DOTALL)
_OWN_LINES = ("simulated migration", "porter: warning: ")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+), in ', re.M)
_SITE = re.compile(r" at ([^\s:]+):(\d+)")


@dataclass(frozen=True, slots=True)
class Measured:
    """``count`` times the same thing at a line, on one device; ``what`` is the operator or call."""

    device: Device
    kind: str
    file: str
    line: int
    source: str
    what: str
    count: int = 1


@dataclass
class Measurement:
    """What a command counted on all devices; ``failed`` is how it ended where it did not pass."""

    command: str
    measured: list[Measured] = field(default_factory=list)
    failed: dict[Device, str] = field(default_factory=dict)
    totals: dict[Device, dict[str, int]] = field(default_factory=dict)


def split_command(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the variables before a command, and the script with its arguments.

    Raises BadInput where no Python script or ``-m MODULE`` stands.
    """
    given = list(words[1:] if words[:1] == ["--"] else words)
    environ: dict[str, str] = {}
    while given and (found := _VARIABLE.match(given[0])):
        environ[found[1]] = found[2]
        del given[0]
    if given and re.fullmatch(r"python[\d.]*", Path(given[0]).name):
        del given[0]
    if not given or not (given[0].endswith(".py") or (given[0] == "-m" and len(given) > 1)):
        what = given[0] if given else "nothing"
        raise BadInput(f"-- COMMAND: expected python SCRIPT.py and its arguments, found {what!r}")
    return environ, given


def measure_command(
    folder: Path, words: Sequence[str], devices: Iterable[Device], *, migrate: bool
) -> Measurement:
    """Run a command in a copy of ``folder`` on each simulated device.

    Raises BadInput for a command without a script, and for a script that is not there.
    """
    environ, script = split_command(words)
    if script[0] != "-m" and not (folder / script[0]).is_file():
        raise BadInput(f"{script[0]}: no such script in {folder}")
    done = Measurement(" ".join(script))
    for device in devices:
        with scratch_folder("scan") as scratch:
            copy = scratch / "tree"
            _copy(folder, copy)
            _measure(done, device, copy, scratch, (environ, script), migrate=migrate)
    return done


def _copy(folder: Path, copy: Path) -> None:
    def ignored(where: str, names: list[str]) -> list[str]:
        return [
            name for name in names if Path(where, name).is_dir() and is_skipped(Path(where), name)
        ]

    def linked(source: str, target: str) -> None:
        if Path(source).stat().st_size > LARGE:
            Path(target).symlink_to(Path(source).resolve())
        else:
            shutil.copy(source, target)

    shutil.copytree(
        folder, copy, ignore=ignored, copy_function=linked, ignore_dangling_symlinks=True
    )


def _measure(
    done: Measurement,
    device: Device,
    copy: Path,
    scratch: Path,
    command: tuple[Mapping[str, str], Sequence[str]],
    *,
    migrate: bool,
) -> None:
    environ, script = command
    counts, log = scratch / "counts.json", scratch / "calls.jsonl"
    words = [sys.executable, "-m", "porter", "run", "--device", f"sim:{device}", "--quiet"]
    words += ["--json", str(counts), "--migration-log", str(log)]
    words += ["--migrate"] if migrate else []
    variables = {**os.environ, "PT_HPU_LAZY_MODE": "1", **environ}
    ran = subprocess.run(
        [*words, "--", *script],
        cwd=copy, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="replace", check=False,
    )  # fmt: skip
    if ran.returncode:
        said = [line.strip() for line in ran.stderr.splitlines() if line.strip()]
        said = [line for line in said if not line.startswith(_OWN_LINES)]
        done.failed[device] = said[-1] if said else f"exit code {ran.returncode}"
        done.measured += _stop(device, copy, ran.stderr, done.failed[device])
    if not counts.is_file():
        raise BadInput(f"sim:{device}: {done.failed.get(device, 'the run left no counters')}")
    counted = json.loads(counts.read_bytes())
    done.totals[device] = {
        "ops": counted["dispatched"]["ops"],
        "compilation": counted.get("graphs", {}).get("compilations", 0),
        **counted["totals"],
    }
    done.measured += _events(device, counted)
    done.measured += _compilations(device, copy, counted.get("graphs", {}).get("compiled", ()))
    done.measured += _served(device, log)


def _stop(device: Device, copy: Path, stderr: str, why: str) -> Iterator[Measured]:
    for path, line in reversed(_FRAME.findall(stderr)):
        place = Path(copy, path).resolve()
        if place.is_relative_to(copy.resolve()) and place.is_file():
            file = place.relative_to(copy.resolve()).as_posix()
            yield Measured(device, "stopped", file, int(line), _line(copy, file, int(line)), why)
            return


def _events(device: Device, counted: Mapping[str, Any]) -> Iterator[Measured]:
    for event in counted["events"]:
        file, _, line = event["site"].rpartition(":")
        if event["kind"] in KINDS and _is_inside(file) and line.isdecimal():
            what = event["what"] + (f", {event['detail']}" if event["detail"] else "")
            source = event["source"]
            yield Measured(device, event["kind"], file, int(line), source, what, event["count"])


def _compilations(
    device: Device, copy: Path, compiled: Iterable[Mapping[str, Any]]
) -> Iterator[Measured]:
    """Yield the compilations of all but first graphs, at the last line that differed."""
    found: dict[tuple[str, int], list[str]] = {}
    for each in compiled:
        places = [(_SITE.search(text), text) for text in each["differs"]]
        sites = [(match[1], int(match[2]), text) for match, text in places if match]
        inside = [site for site in sites if _is_inside(site[0])]
        if inside:
            file, line, text = inside[-1]
            found.setdefault((file, line), []).append(_SITE.sub("", text))
    for (file, line), texts in found.items():
        source = _line(copy, file, line)
        yield Measured(device, "compilation", file, line, source, texts[-1], len(texts))


def _served(device: Device, log: Path) -> Iterator[Measured]:
    rows = log.read_text("utf-8").splitlines() if log.is_file() else []
    for row in map(json.loads, rows):
        if _is_inside(row["file"]):
            what = f"{row['asked']} by {row['served']}"
            yield Measured(device, "served", row["file"], row["line"], row["source"], what)


def _is_inside(file: str) -> bool:
    return bool(file) and not file.startswith(("/", "<", ".."))


def _line(copy: Path, file: str, line: int) -> str:
    try:
        lines = (copy / file).read_text("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return lines[line - 1].strip() if 0 < line <= len(lines) else ""

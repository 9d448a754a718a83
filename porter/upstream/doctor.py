"""``porter doctor``: gather facts about this machine, without importing torch.

Each fact says whether porter can work with it. Devices are found by their device nodes and their
plugins by package metadata; ``deep`` asks torch itself in a separate process.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from porter import __version__
from porter.errors import PorterError
from porter.git.odb import git_environment
from porter.git.run import first_error
from porter.places import cache_dir, is_project
from porter.terminal import counted
from porter.upstream.archive import SETTING, software_heritage
from porter.upstream.failure import SourceFailure, source_failure
from porter.upstream.pins import GitSource, Pin, Pins, Sdist

Source = GitSource | Sdist
Answers = Mapping[str, Mapping[Source, SourceFailure | None]]

GIT_NEEDED = (2, 30)  # fetch --stdin, --no-write-fetch-head
DISK_NEEDED = 2 << 30  # a probe environment or two
_SECONDS = 20.0
_PIP_SECONDS = 60.0  # pip is slow to start on a busy machine
_NODES = {
    "cuda": ("/dev", r"nvidia[0-9]+\Z"),
    "hpu": ("/dev/accel", r"accel[0-9]+\Z"),
    "npu": ("/dev", r"davinci[0-9]+\Z"),
}
_PLUGINS = {"hpu": "habana-torch-plugin", "npu": "torch-npu"}
_ASK_TORCH = """
import importlib, torch
for name, module in (("cuda", None), ("hpu", "habana_frameworks.torch.core"), ("npu", "torch_npu")):
    try:
        if module:
            importlib.import_module(module)
        print(name, getattr(torch, name).device_count())
    except Exception as error:
        print(name, "no:", type(error).__name__, str(error).splitlines()[0] if str(error) else "")
"""


@dataclass(frozen=True)
class Fact:
    """One fact. ``ok`` False: porter cannot work; None: some commands cannot work here.

    ``detail`` is the full message of a source's client.
    """

    topic: str
    subject: str
    ok: bool | None
    text: str
    detail: str = ""

    @property
    def main(self) -> bool:
        """False for the detail lines below another fact."""
        return not self.subject.endswith(" source")


def examine(
    pins: Pins, answers: Answers, archive: Fact, *, offline: bool, deep: bool
) -> list[Fact]:
    """Return every fact; ``answers`` come from :func:`ask_sources`, ``archive`` from
    :func:`ask_archive`."""
    root = pins.root
    project = f"project {root}" if is_project(root) else "no project here: pass --root DIR"
    facts = [
        Fact("porter", "porter", True, f"{__version__}, {project}"),
        _python(),
        _git(),
        _package("pip", needed=True),
        _package("torch", needed=False),
        *_cache(),
        *_devices(deep),
    ]
    return [*facts, *_sources(root, pins, answers, offline), archive]


def _python() -> Fact:
    text = f"{platform.python_version()} ({sys.executable})"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Fact("porter", "Python", True, text)
    return Fact("porter", "Python", None, f"{text}; porter is tested with 3.10 to 3.13")


def _git() -> Fact:
    try:
        done = subprocess.run(["git", "--version"], capture_output=True, text=True)
    except FileNotFoundError:
        return Fact("porter", "git", False, "not on PATH; install git 2.30 or newer")
    if done.returncode:
        return Fact("porter", "git", False, first_error(done.stderr))
    out = done.stdout
    match = re.search(r"(\d+)\.(\d+)(\.\d+)*", out)
    version = (int(match[1]), int(match[2])) if match else (0, 0)
    if version < GIT_NEEDED:
        return Fact("porter", "git", False, f"{out.strip()}; 2.30 or newer is needed")
    return Fact("porter", "git", True, match[0] if match else out.strip())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str, *, needed: bool) -> Fact:
    if version := _version(name):
        return Fact("porter", name, True, version)
    text = f"not installed; `{sys.executable} -m pip install {name}`"
    if name == "pip":
        text = f"not installed; `{sys.executable} -m ensurepip` (source releases come through it)"
    return Fact("porter", name, False if needed else None, text)


def _cache() -> list[Fact]:
    cache = cache_dir()
    there = next(folder for folder in (cache, *cache.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    writable = os.access(there, os.W_OK)
    text = f"{cache}" + ("" if writable else " (read-only: only what is there can be used)")
    return [
        Fact("cache", "location", True if writable else None, text),
        Fact("cache", "in use", True, f"{_used(cache) / 1e6:.1f} MB"),
        Fact("cache", "free disk", True if free >= DISK_NEEDED else None, f"{free / 1e9:.1f} GB"),
    ]


def _used(folder: Path) -> int:
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(top) / name).lstat().st_size
            except OSError:
                continue
    return total


def _devices(deep: bool) -> list[Fact]:
    counts = _device_counts() if deep else {}
    facts = []
    for name, (folder, pattern) in _NODES.items():
        nodes = [path for path in Path(folder).glob("*") if re.match(pattern, path.name)]
        parts = [counted(len(nodes), "device node") if nodes else "none"]
        usable = bool(nodes)
        if plugin := _PLUGINS.get(name):
            version = _version(plugin)
            parts.append(f"{plugin} {version or 'not installed'}")
            usable = usable and version is not None
        if name in counts:
            parts.append(f"torch says {counts[name]}")
        facts.append(Fact("devices", name, True if usable else None, ", ".join(parts)))
    facts.append(Fact("devices", "cpu", True, f"{os.cpu_count()} cores, simulated devices"))
    return facts


def _device_counts() -> dict[str, str]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_TORCH], capture_output=True, text=True, timeout=120
        )
    except subprocess.TimeoutExpired:
        return dict.fromkeys(_NODES, "nothing within 120 s")
    rows = (line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    return {name: text for name, text in rows if name in _NODES}


def ask_sources(pins: Pins, *, offline: bool) -> dict[str, dict[Source, SourceFailure | None]]:
    """Ask each source of each pin; return None where it answers, else why not."""
    if offline:
        return {name: {} for name in pins.pins}
    with ThreadPoolExecutor(max_workers=4) as pool:
        asked = {
            pin.name: {source: pool.submit(_ask, source) for source in pin.sources}
            for pin in pins.pins.values()
        }
        return {
            name: {source: answer.result() for source, answer in mine.items()}
            for name, mine in asked.items()
        }


def ask_archive(*, offline: bool) -> Fact:
    """Ask the archive that is asked for what no source of a pin serves.

    Raises BadInput where its setting is no address.
    """
    archive = software_heritage()
    if archive is None:
        return Fact("sources", "archive", None, f"off ({SETTING})")
    if offline:
        return Fact("sources", "archive", None, f"{archive}: not asked")
    if failure := archive.ask():
        return Fact(
            "sources", "archive", None, f"Software Heritage: {failure.reason}", str(failure)
        )
    return Fact("sources", "archive", True, f"{archive}: reachable")


def _sources(root: Path, pins: Pins, answers: Answers, offline: bool) -> list[Fact]:
    facts = []
    for pin in pins.pins.values():
        held = _held(root, pin)
        mine = answers[pin.name]
        answering = any(mine[source] is None for source in mine)
        ok = True if held or answering else None
        facts.append(Fact("sources", pin.name, ok, held or "not in the store"))
        for source in pin.sources:
            failure = mine.get(source)
            text = "reachable" if failure is None else failure.reason
            detail = "" if failure is None else failure.text
            if source not in mine:
                text = "not asked"
            good = True if source in mine and failure is None else None
            facts.append(Fact("sources", f"{pin.name} source", good, f"{source}: {text}", detail))
    if facts and all(f.ok is None for f in facts) and not offline:
        text = "none is in the store and no source answers: check network, proxy and pip's index"
        facts.append(Fact("sources", "upstreams", False, text))
    return facts


def _held(root: Path, pin: Pin) -> str:
    from porter.upstream.store import fetch

    try:
        held = fetch(root, pin, offline=True)
    except PorterError:
        return ""
    return f"in the store, {held.covered} of {held.wanted} wanted files"


def _ask(source: Source) -> SourceFailure | None:
    """Return why a source does not answer, or None when it does."""
    if isinstance(source, GitSource):
        command = ["git", "ls-remote", "--exit-code", "--", source.url, "HEAD"]
        reason = _answer(command, "HEAD", _SECONDS)
    else:
        command = [sys.executable, "-m", "pip", "index", "versions", "--no-binary=:all:"]
        command += [source.name, "--disable-pip-version-check", "--no-input"]
        reason = _answer(command, source.version, _PIP_SECONDS)
    return source_failure(source, reason) if reason else None


def _answer(command: list[str], expected: str, seconds: float) -> str:
    env = git_environment(network=True) | {"PIP_RETRIES": "0", "PIP_DEFAULT_TIMEOUT": "10"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", env=env, timeout=seconds,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} s"
    except FileNotFoundError:
        return f"no {command[0]} on PATH"
    if done.returncode == 0 and expected in re.split(r"[\s,()]+", done.stdout):
        return ""
    for line in done.stderr.splitlines():
        if match := re.match(r"(?:fatal|error|ERROR|ssh): (.*)", line.strip()):
            return re.sub(r"//[^/@\s]*@", "//", match[1])[:200]
    return f"it does not offer {expected}"

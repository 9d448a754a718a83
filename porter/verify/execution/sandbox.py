"""Choose the sandbox of runs: the kernel's namespaces, bubblewrap, or none, with the reason.

:mod:`porter.verify.harness.sandbox` enters the namespaces, a set for every run, in the run's own
process. bubblewrap serves where a system lets nothing else make namespaces; its runs
are not forked.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import porter
from porter.errors import BadInput
from porter.verify.execution.forkserver import FORKED_DEVICES
from porter.verify.harness import sandbox as harness
from porter.verify.plan.matrix import Job

Mode = Literal["auto", "require", "off"]
MODES: tuple[Mode, ...] = ("auto", "require", "off")
NONE = "none"
_EMPTIED = ("/tmp", "/var/tmp", "/dev/shm")
_SECONDS = 30
_MOST_LINKS = 40  # path_resolution(7)


@dataclass(frozen=True)
class Sandbox:
    """What holds runs: ``kind`` is "namespaces", "bubblewrap" or "none"; ``why`` says why none."""

    kind: str
    why: str = ""

    def spec(self, job: Job, python: Path, folder: Path) -> dict[str, list[str]] | None:
        """Return what a run enters itself (:func:`porter.verify.harness.sandbox.enter`)."""
        return _arrangement(job, python, folder) if self.kind == "namespaces" else None

    def command(self, job: Job, python: Path, folder: Path) -> list[str]:
        """Return what comes before the command of a run that cannot enter by itself."""
        if self.kind != "bubblewrap":
            return []
        return _bubblewrap(_arrangement(job, python, folder), folder / "scratch")


NO_SANDBOX = Sandbox(NONE, "not asked for")


def find_sandbox(mode: Mode) -> Sandbox:
    """Return the sandbox that this system lets runs have.

    Raises BadInput for the mode "require" when there is none.
    """
    if mode == "off":
        return Sandbox(NONE, "--sandbox off")
    found = _find()
    if mode == "require" and found.kind == NONE:
        raise BadInput(
            f"--sandbox require: expected a system that lets runs have a sandbox, found "
            f"{found.why}; --sandbox auto goes on without"
        )
    return found


def _find() -> Sandbox:
    if sys.platform != "linux":
        return Sandbox(NONE, f"{sys.platform}, which has no namespaces")
    if not (why := _tried([sys.executable, "-I", "-S", harness.__file__])):
        return Sandbox("namespaces")
    if shutil.which("bwrap"):
        if not (other := bubblewrap_fault()):
            return Sandbox("bubblewrap")
        why = f"{why}; bubblewrap: {other}"
    return Sandbox(NONE, why)


def bubblewrap_fault() -> str:
    """Return why bubblewrap cannot hold a run, "" if it can."""
    return _tried([*_bubblewrap({}, Path("/")), "true"])


def _tried(command: list[str]) -> str:
    """Return "" if a command succeeds, else the last line that it printed."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    if done.returncode == 0:
        return ""
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[-1] if lines else f"{command[0]}: exit code {done.returncode}"


def _arrangement(job: Job, python: Path, folder: Path) -> dict[str, list[str]]:
    """Return the folders to cover and, of what is below them, what a run needs."""
    hidden = {_real(Path.home())}
    with suppress(KeyError):  # a user whom the system does not know
        hidden.add(_real(pwd.getpwuid(os.getuid()).pw_dir))
    if job.facts.device in FORKED_DEVICES:  # a driver may have a socket there
        hidden.add("/run")
    emptied = {_real(path) for path in (*_EMPTIED, tempfile.gettempdir())}
    covers = {path for path in hidden | emptied if path != "/" and Path(path).is_dir()}
    needed = [job.tree, *job.companions.values(), job.probe.parent, *_interpreter(python)]
    below = _below(map(_real, needed), covers) - covers
    shown = {path for path in below if Path(path).exists()}
    links = _below((link for path in (*needed, folder) for link in _links(path)), covers)
    return {
        "hidden": sorted((hidden - emptied) & covers),
        "emptied": sorted(emptied & covers),
        "shown": sorted(shown),
        "writable": [_real(folder)],
        "links": sorted(link for link in links if not _below([link], shown)),
    }


def _below(paths: Iterable[str], folders: Collection[str]) -> set[str]:
    """Return those paths that lie below one of the folders."""
    return {path for path in paths if any(path.startswith(f"{folder}/") for folder in folders)}


def _links(path: Path | str, most: int = _MOST_LINKS) -> Iterator[str]:
    """Yield the symbolic links that a path leads through, each where it really lies."""
    folder = "/"
    for part in Path(os.path.abspath(path)).parts[1:]:  # noqa: PTH100 (Path keeps "..")
        here = Path(folder, part)
        if most and here.is_symlink():
            yield str(here)
            yield from _links(here.parent / here.readlink(), most - 1)
        folder = _real(here)


def _interpreter(python: Path) -> Iterator[Path | str]:
    """Yield the folders of a probe's interpreter, of the one that runs porter, and of porter."""
    yield python.parent.parent.parent  # an environment's build: the venv and its layer
    yield Path(python).resolve().parent
    yield from (sys.prefix, sys.base_prefix, Path(porter.__file__).parent)
    yield from (path for path in sys.path if path.startswith("/"))
    for name in ("PATH", "LD_LIBRARY_PATH"):
        places = os.environ.get(name, "").split(os.pathsep)
        yield from (path for path in places if path.startswith("/"))


def _real(path: Path | str) -> str:
    return os.path.realpath(path)


def _bubblewrap(spec: Mapping[str, list[str]], start: Path) -> list[str]:
    """Return bubblewrap's command line for the same arrangement of folders."""
    command = ["bwrap", "--unshare-user", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    command += ["--hostname", "localhost", "--die-with-parent", "--cap-drop", "ALL"]
    command += ["--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev"]
    kinds = {"hidden": "--tmpfs", "emptied": "--tmpfs", "shown": "--ro-bind", "writable": "--bind"}
    places = {path: option for kind, option in kinds.items() for path in spec.get(kind, ())}
    for path in sorted(places, key=lambda path: (path.count("/"), path)):
        command += [places[path], path] if places[path] == "--tmpfs" else [places[path], path, path]
    for path in spec.get("links", ()):
        command += ["--symlink", str(Path(path).readlink()), path]
    for path in spec.get("hidden", ()):
        command += ["--remount-ro", path]
    return [*command, "--chdir", str(start), "--"]


def description(kind: str) -> str:
    """Return what a kind of sandbox holds, in words."""
    if kind == NONE:
        return "none: runs see the network, your home and the cache, and may write there"
    return f"{kind}: no network, no home, everything but a run's own folder read-only"

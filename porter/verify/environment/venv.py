"""Build probe environments: one venv per requirements file, layered over the running torch.

Requirements files, ``recipes/environments/<name>.txt``, are ordinary pip requirements files (one
requirement per line; ``#`` comments; no ``-r``, ``-c``, ``-e`` or index options), so they can be
used by hand too. torch and the device's plugin are never listed: the layer brings those of the
interpreter that runs porter, with their dependencies, and pip sees them as installed. Packages of
the file override the layer's: with ``numpy<2`` the probe gets that, whatever numpy the layer has.

Two comments are instructions to porter::

    torchvision  # porter: no-deps
    # porter: stub torchvision._meta_registrations

``# porter: no-deps`` after a requirement installs it after the others, without dependencies: for
packages that pin a torch build (torchvision, torchaudio) and would otherwise bring a second torch.
``torchvision`` and ``torchaudio`` without a version get the release that matches the running torch
(torch 2.N: torchvision 0.(N+15), torchaudio 2.N; pytorch.org's table of versions).

``# porter: stub MODULE`` on a line of its own puts an empty module under that name into
``sys.modules`` before any import, in that environment only. torchvision from the package index
beside a CPU torch cannot register its compiled operators and fails in
``torchvision._meta_registrations``; its transforms need none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
import tempfile
import threading
import venv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from porter.atomic import read_json, write_atomic
from porter.errors import CheckFailed
from porter.process import Stopped
from porter.verify.environment.pip_process import POLL_SECONDS, Output, failure_reason, run_pip
from porter.verify.environment.requirements import Requirements, matching_release
from porter.verify.environment.torch_layer import Layer, write_layer
from porter.verify.environment.variables import passed_variables
from porter.verify.environment.wheels import install_arguments

LAYER_FORMAT = 1
MARKER = "current.json"
_MARKER_KEYS = {"build", "key", "packages", "pip_check"}

_TORCH_SECONDS = 120.0
_STUB = 'import sys, types; sys.modules.setdefault("{0}", types.ModuleType("{0}"))'


class Hearer(Protocol):
    """Progress callbacks, called on the thread that builds."""

    def say(self, line: str) -> None:
        """Print a line that stays."""

    def building(self, environment: str) -> None:
        """The build begins."""

    def progress(self, line: str) -> None:
        """Show what pip is doing."""

    def built(self, environment: str, how: str) -> None:
        """The build has ended; ``how`` says in words whether it succeeded."""


class EnvironmentFailed(CheckFailed):
    """A probe environment could not be built."""


@dataclass(frozen=True)
class Environment:
    """A built environment; ``key`` is the hash of what it is built from and where that lies.

    ``content`` is the hash of what it is built from, the same on every machine.
    """

    name: str
    key: str
    python: Path
    packages: dict[str, str]
    pip_check: str
    content: str

    @cached_property
    def identity(self) -> str:
        """The hash of its content and its installed packages, part of every trace's key.

        A file without exact versions gives other packages when it is built on another day.
        """
        text = json.dumps([self.content, sorted(self.packages.items())])
        return hashlib.sha256(text.encode()).hexdigest()


def environment_key(requirements: Requirements, layer: Layer) -> str:
    """Return the hash of everything that an environment is built from, and where that lies."""
    inputs = [
        LAYER_FORMAT,
        requirements.sha256,
        sys.version,
        os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        sysconfig.get_platform(),
        layer.identity(),
    ]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def environment_content(requirements: Requirements, layer: Layer) -> str:
    """Return the hash of what an environment is built from, wherever that is installed."""
    inputs = [
        LAYER_FORMAT,
        requirements.sha256,
        sys.version,
        sysconfig.get_platform(),
        layer.content,
    ]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def find_environment(
    requirements: Requirements, layer: Layer, environments: Path
) -> Environment | None:
    """Return the environment if it is built and all its packages are there.

    Its interpreter is not started, so a torch that cannot be imported shows only when it is used.
    """
    key = environment_key(requirements, layer)
    content = environment_content(requirements, layer)
    home = environments.resolve() / f"{requirements.name}-{key[:16]}"
    found, _ = _load(home, key, content, None, torch_in)
    return found


def ensure_environment(
    requirements: Requirements,
    layer: Layer,
    environments: Path,
    hearer: Hearer,
    torch_of: Callable[[Path], str] | None = None,
    stop: threading.Event | None = None,
) -> Environment:
    """Return the environment; build it under a lock if it is missing or broken.

    Each build has its own folder, and a marker that names the finished one is replaced atomically:
    a killed build, even one whose pip lives on, is never taken for a finished one.

    ``torch_of`` replaces :func:`torch_in`. Raises EnvironmentFailed with pip's error, and Stopped
    soon after ``stop`` is set: by then pip has ended, and the unfinished build is removed.
    """
    stop = stop or threading.Event()
    torch_of = torch_of or (lambda python: torch_in(python, stop))
    key, content = environment_key(requirements, layer), environment_content(requirements, layer)
    # The real folder: a build names its layer in a file, and may be used by another path later.
    home = environments.resolve() / f"{requirements.name}-{key[:16]}"
    ready, _ = _load(home, key, content, layer, torch_of)
    if ready:
        return ready
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(environments / f"{home.name}.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        hearer.say(f"waiting for another porter to build the environment {requirements.name}")
        while not lock.is_locked:
            if stop.is_set():
                raise Stopped from None
            with suppress(Timeout):
                lock.acquire(timeout=POLL_SECONDS)
    try:
        ready, broken = _load(home, key, content, layer, torch_of)
        if ready:
            return ready
        if broken:
            hearer.say(f"environment {requirements.name}: {broken}; building it again")
        return _build(requirements, layer, home, (key, content), hearer, torch_of, stop)
    finally:
        lock.release()


def _load(
    home: Path, key: str, content: str, layer: Layer | None, torch_of: Callable[[Path], str]
) -> tuple[Environment | None, str]:
    """Return (the environment, "") or (None, what is broken; "" if there is none).

    With a layer, also check that the environment imports the layer's torch.
    """
    try:
        marker = read_json(home / MARKER)
    except FileNotFoundError:
        return None, ""
    except ValueError:
        return None, f"{MARKER} is damaged"
    if problem := marker_problem(home, marker):
        return None, problem
    if marker["key"] != key:
        return None, f"{MARKER} is of another environment"
    python = home / marker["build"] / "venv" / "bin" / "python"
    packages, pip_check = dict(marker["packages"]), str(marker["pip_check"])
    if layer is not None and (problem := _wrong_torch(python, layer, torch_of)):
        return None, problem
    with suppress(OSError):
        os.utime(home / MARKER)  # the time of last use, by which `porter gc` chooses
    name = home.name.rpartition("-")[0]
    return Environment(name, key, python, packages, pip_check, content), ""


def marker_problem(home: Path, marker: Any) -> str:
    """Return what is wrong with an environment's marker, or with what it says; "" if nothing is."""
    try:
        kept = {**marker}
        stated = kept.pop("sha256", None)  # those of earlier versions have none
        build, packages = kept["build"], kept["packages"]
        is_whole = stated in (None, _checksum(kept)) and kept.keys() == _MARKER_KEYS
        if not is_whole or not re.fullmatch(r"build-\w+", build):
            return f"{MARKER} is damaged"
    except (KeyError, TypeError, AttributeError):
        return f"{MARKER} is damaged"
    if not (home / build / "venv" / "bin" / "python").exists():
        return "its interpreter is gone or has moved"
    if _installed(_site_packages(home / build)) != packages:
        return "its packages are not those that were installed"
    return ""


def _checksum(marker: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(marker, sort_keys=True).encode()).hexdigest()


def _build(
    requirements: Requirements,
    layer: Layer,
    home: Path,
    hashes: tuple[str, str],
    hearer: Hearer,
    torch_of: Callable[[Path], str],
    stop: threading.Event,
) -> Environment:
    for old in home.glob("build-*"):
        shutil.rmtree(old, ignore_errors=True)  # unused: a finished one would have been returned
    key, content = hashes
    hearer.building(requirements.name)
    if layer.whole:
        hearer.say(f"{layer.why_whole}: {requirements.name} sees all packages of {layer.whole[0]}")
    how = "is not built"
    build = Path(tempfile.mkdtemp(prefix="build-", dir=home))
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(build / "venv")
        site_packages = _site_packages(build)
        folders = write_layer(layer, build / "layer")
        lines = [*(str(folder) for folder in folders), *map(_STUB.format, requirements.stubs)]
        (site_packages / "porter-layer.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pip_check = _install(requirements, layer, build, hearer.progress, stop)
        python = build / "venv" / "bin" / "python"
        if problem := _wrong_torch(python, layer, torch_of):
            raise EnvironmentFailed(f"environment {requirements.name}: {problem}")
        packages = _installed(site_packages)
        marker = {"build": build.name, "key": key, "packages": packages, "pip_check": pip_check}
        marker["sha256"] = _checksum(marker)
        write_atomic(home / MARKER, json.dumps(marker, indent=1).encode(), sync=True)
        how = f"is ready: {len(packages)} packages"
    except BaseException:
        shutil.rmtree(build, ignore_errors=True)
        raise
    finally:
        hearer.built(requirements.name, how)
    return Environment(requirements.name, key, python, packages, pip_check, content)


def _install(
    requirements: Requirements,
    layer: Layer,
    build: Path,
    progress: Callable[[str], None],
    stop: threading.Event,
) -> str:
    """Install the requirements; return the complaint of `pip check` ("" if it has none)."""
    if not requirements.lines and not requirements.no_deps:
        return ""
    if find_spec("pip") is None:
        raise EnvironmentFailed(
            f"{sys.executable}: pip is not installed; `python -m ensurepip` installs it"
        )
    constraints = build / "constraints.txt"
    constraints.write_text("".join(f"{n}=={v}\n" for n, v in layer.pinned.items()))
    wanted = build / "requirements.txt"
    wanted.write_text("\n".join(requirements.lines) + "\n")

    def pip(*arguments: str) -> None:
        name, python = requirements.name, build / "venv" / "bin" / "python"
        code, printed = run_pip(
            python, build, arguments, lambda line: progress(f"{name}: {line}"), stop
        )
        if code != 0:
            log = build.parent / f"pip-{arguments[0]}.log"
            log.write_text("\n".join(printed) + "\n", encoding="utf-8")
            reason = failure_reason(printed) or code
            raise EnvironmentFailed(
                f"environment {name}: pip {arguments[0]} failed: {reason}; full output: {log}"
            )

    bundled = install_arguments(requirements, layer, build.parent.parent)
    if bundled is not None:
        try:
            pip("install", *bundled)
        except EnvironmentFailed as error:
            progress(f"{requirements.name}: the wheels of the bundle do not fit: {error}")
            bundled = None
    if requirements.lines and bundled is None:
        pip("install", "-r", str(wanted), "-c", str(constraints))
    if requirements.no_deps and bundled is None:
        lines = [matching_release(line, layer.torch_version) for line in requirements.no_deps]
        pip("install", "--no-deps", *lines)
    try:
        pip("check")
    except EnvironmentFailed as error:
        return str(error)  # not fatal: what --no-deps skipped is missing on purpose
    return ""


def _site_packages(build: Path) -> Path:
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    base = str(build / "venv")
    return Path(sysconfig.get_path("purelib", scheme, {"base": base, "platbase": base}))


def _installed(site_packages: Path) -> dict[str, str]:
    """Return name -> version of the distributions in a site-packages folder."""
    found = {}
    for info in site_packages.glob("*.dist-info"):
        if (info / "METADATA").is_file():
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            found[name] = version
    return dict(sorted(found.items()))


class NoTorch(Exception):
    """The interpreter does not run or cannot import torch; the message says which."""


def torch_in(python: Path, stop: threading.Event | None = None) -> str:
    """Return the version of the torch that an interpreter imports. Raises NoTorch, and Stopped."""
    program = "import safetensors, torch; print(torch.__version__)"
    try:
        output = Output([str(python), "-c", program], python.parent, passed_variables())
        printed = list(output.lines(stop or threading.Event(), _TORCH_SECONDS))
    except OSError as error:
        raise NoTorch(f"its interpreter does not run: {error}") from error
    if output.code != 0:
        raise NoTorch(f"torch cannot be imported: {(printed or ['no output'])[-1]}")
    return " ".join(printed[-1:])


def _wrong_torch(python: Path, layer: Layer, torch_of: Callable[[Path], str]) -> str:
    """Return "" if the interpreter imports the layer's torch, else what is wrong."""
    try:
        imported = torch_of(python)
    except NoTorch as error:
        return str(error)
    if not _is_release(imported, layer.torch_version):
        return f"expected torch {layer.torch_version}, found {imported}"
    return ""


def _is_release(imported: str, installed: str) -> bool:
    """Whether torch's own version (``2.5.1+cu124``) is that of an installed distribution.

    A package index takes no local labels: the wheel there is called 2.5.1, and its torch is not.
    """
    return installed in (imported, imported.partition("+")[0])

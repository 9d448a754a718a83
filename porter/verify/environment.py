"""Probe environments: one venv per requirements file, layered over the running torch.

Requirements files, ``recipes/environments/<name>.txt``, are ordinary pip requirements files (each
line a requirement; ``#`` comments; no ``-r``, ``-c``, ``-e`` or index options), so they can be used
by hand too. torch and the device's plugin are never listed: the layer brings the ones
of the interpreter that runs porter, with what they need, and pip sees them as installed. Packages
of the file win over the layer's (``numpy<2`` is what the probe gets whatever torch stands beside).

Two comments speak to porter::

    torchvision  # porter: no-deps
    # porter: stub torchvision._meta_registrations

``# porter: no-deps`` after a requirement installs it after the others and without its dependencies:
for packages that pin a torch build (torchvision, torchaudio), which would otherwise bring a second
torch. ``torchvision`` and ``torchaudio`` without a version get the release that belongs to the
running torch (torch 2.N: torchvision 0.(N+15), torchaudio 2.N; pytorch.org's table of versions).

``# porter: stub MODULE`` on a line of its own puts an empty module under that name before any
import, in that environment only. torchvision from the package index beside a CPU torch cannot
register its compiled operators and fails in ``torchvision._meta_registrations``; its transforms
need none of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock, Timeout

from porter.errors import CheckFailed
from porter.verify.layer import Layer, write_layer
from porter.verify.requirements import Requirements, matching_release

LAYER_FORMAT = 1
MARKER = "current.json"

Say = Callable[[str], None]
"""Takes one line that says what goes on."""


class EnvironmentFailed(CheckFailed):
    """A probe environment could not be built."""


@dataclass(frozen=True)
class Environment:
    """A built environment: its key (what decides its content) and its interpreter."""

    name: str
    key: str
    python: Path
    packages: dict[str, str]
    pip_check: str

    @property
    def identity(self) -> str:
        """The hash of what it was asked to hold and of what it got: a part of every trace's key.

        A file without exact versions gives other packages when it is built on another day.
        """
        text = json.dumps([self.key, sorted(self.packages.items())])
        return hashlib.sha256(text.encode()).hexdigest()


def environment_key(requirements: Requirements, layer: Layer) -> str:
    """Return the hash of everything that decides an environment's content."""
    facts = [
        LAYER_FORMAT,
        requirements.sha256,
        sys.version,
        os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        sysconfig.get_platform(),
        layer.identity(),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def find_environment(
    requirements: Requirements, layer: Layer, environments: Path
) -> Environment | None:
    """Return the environment if it is built and none of its packages is gone.

    Nothing is run in it: whether torch can be imported there shows when it is used.
    """
    key = environment_key(requirements, layer)
    found, _ = _load(environments / f"{requirements.name}-{key[:16]}", key, None, torch_in)
    return found


def ensure_environment(
    requirements: Requirements,
    layer: Layer,
    environments: Path,
    say: Say,
    progress: Say,
    torch_of: Callable[[Path], str] | None = None,
) -> Environment:
    """Return the environment, built under a lock if it is not there or is broken.

    Builds stand in a folder of their own each, and a marker that names the finished one is replaced
    in one step: a build that was killed, even one whose pip lives on, is never taken for a finished
    one.

    ``say`` hears what is worth a line in a log, ``progress`` what pip does now; ``torch_of`` may
    stand in for :func:`torch_in`. Raises EnvironmentFailed with pip's own words.
    """
    torch_of = torch_of or torch_in
    key = environment_key(requirements, layer)
    home = environments / f"{requirements.name}-{key[:16]}"
    ready, why = _load(home, key, layer, torch_of)
    if ready:
        return ready
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(str(environments / f"{home.name}.lock"))
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        say(f"waiting for another porter that builds the environment {requirements.name}")
        lock.acquire()
    try:
        ready, why = _load(home, key, layer, torch_of)
        if ready:
            return ready
        if why:
            say(f"environment {requirements.name}: {why}; building it again")
        return _build(requirements, layer, home, key, say, progress)
    finally:
        lock.release()


def _load(
    home: Path, key: str, layer: Layer | None, torch_of: Callable[[Path], str]
) -> tuple[Environment | None, str]:
    """Return (the environment, "") or (None, what is broken; "" when there was none).

    Where a layer is given, its torch is imported there.
    """
    try:
        marker = json.loads((home / MARKER).read_text(encoding="utf-8"))
        build = home / marker["build"]
        packages, pip_check = dict(marker["packages"]), str(marker["pip_check"])
    except FileNotFoundError:
        return None, ""
    except (ValueError, KeyError, TypeError):
        return None, f"{MARKER} is damaged"
    python = build / "venv" / "bin" / "python"
    if not python.exists():
        return None, "its interpreter is gone or has moved"
    if _installed(_site_packages(build)) != packages:
        return None, "its packages are not those that were installed"
    if layer is not None and (told := _wrong_torch(python, layer, torch_of)):
        return None, told
    with suppress(OSError):
        os.utime(home / MARKER)  # when it was last used: what a clean-up goes by
    return Environment(home.name.rpartition("-")[0], key, python, packages, pip_check), ""


def _build(
    requirements: Requirements, layer: Layer, home: Path, key: str, say: Say, progress: Say
) -> Environment:
    for old in home.glob("build-*"):
        shutil.rmtree(old, ignore_errors=True)  # nobody's: a finished one would have been used
    say(f"building the environment {requirements.name} (once)")
    if layer.whole:
        say(f"{layer.why_whole}: {requirements.name} sees all packages of {layer.whole[0]}")
    build = Path(tempfile.mkdtemp(prefix="build-", dir=home))
    try:
        venv.EnvBuilder(symlinks=True, with_pip=False).create(build / "venv")
        site_packages = _site_packages(build)
        folders = write_layer(layer, build / "layer")
        lines = [*(str(folder) for folder in folders), *map(_stub_line, requirements.stubs)]
        (site_packages / "porter-layer.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
        pip_check = _install(requirements, layer, build, progress)
        python = build / "venv" / "bin" / "python"
        if told := _wrong_torch(python, layer, torch_in):
            raise EnvironmentFailed(f"environment {requirements.name}: {told}")
        packages = _installed(site_packages)
        marker = {"build": build.name, "key": key, "packages": packages, "pip_check": pip_check}
        beside = home / f"{MARKER}.{os.getpid()}"
        with beside.open("w", encoding="utf-8") as file:
            json.dump(marker, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(home / MARKER)
    except BaseException:
        shutil.rmtree(build, ignore_errors=True)
        raise
    say(f"environment {requirements.name} is ready: {len(packages)} packages")
    return Environment(requirements.name, key, python, packages, pip_check)


def _install(requirements: Requirements, layer: Layer, build: Path, progress: Say) -> str:
    """Install what is required; return what `pip check` complains of ("" when it is clean)."""
    if not requirements.lines and not requirements.no_deps:
        return ""
    if find_spec("pip") is None:
        raise EnvironmentFailed(f"{sys.executable}: no pip here; `python -m ensurepip` brings it")
    constraints = build / "constraints.txt"
    constraints.write_text("".join(f"{n}=={v}\n" for n, v in layer.pinned.items()))
    wanted = build / "requirements.txt"
    wanted.write_text("\n".join(requirements.lines) + "\n")
    if requirements.lines:
        _pip(
            build, requirements.name, progress, "install", "-r", str(wanted), "-c", str(constraints)
        )
    if requirements.no_deps:
        lines = [matching_release(line, layer.torch_version) for line in requirements.no_deps]
        _pip(build, requirements.name, progress, "install", "--no-deps", *lines)
    try:
        _pip(build, requirements.name, lambda _: None, "check")
    except EnvironmentFailed as error:
        return str(error)  # told, not fatal: what --no-deps skipped is missing on purpose
    return ""


def _pip(build: Path, name: str, progress: Say, verb: str, *arguments: str) -> None:
    """Run the running interpreter's pip on the environment, in a process group of its own."""
    command = [sys.executable, "-m", "pip", "--python", str(build / "venv" / "bin" / "python")]
    command += ["--no-input", "--disable-pip-version-check", verb, *arguments]
    if verb == "install":
        command += ["--no-warn-script-location", "--progress-bar", "off"]
    unwanted = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
    variables = {k: v for k, v in os.environ.items() if k not in unwanted}
    process = subprocess.Popen(
        command,
        cwd=build,
        env=variables | {"PYTHONNOUSERSITE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    told: list[str] = []
    with process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                told.append(line.strip())
                if shown := _shown(line):
                    progress(f"{name}: {shown}")
            code = process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    if code != 0:
        log = build.parent / f"pip-{verb}.log"
        log.write_text("\n".join(told) + "\n", encoding="utf-8")
        raise EnvironmentFailed(
            f"environment {name}: pip {verb} failed: {_complaint(told) or code}; all of it: {log}"
        )


def _complaint(told: list[str]) -> str:
    """Return what of pip's output says why it failed."""
    cause = "The conflict is caused by:"
    if cause in told:
        after = told[told.index(cause) + 1 :]
        return "; ".join(after[: after.index("") if "" in after else 3])
    errors = [line.removeprefix("ERROR:").strip() for line in told if line.startswith("ERROR:")]
    return "; ".join(errors[:3] or told[-1:])


def _shown(line: str) -> str:
    """Return what of a line of pip's is worth showing, or nothing."""
    words = line.split()
    if words[:1] == ["Collecting"] and len(words) > 1:
        name = re.split(r"[<>=!~;(\[ ]", words[1])[0]
        return f"looking for {name}"
    if words[:1] == ["Downloading"] and len(words) > 1:
        size = line[line.rfind("(") :].strip() if "(" in line else ""
        return f"downloading {words[1].rpartition('/')[2]} {size}".rstrip()
    if line.startswith("Installing collected packages"):
        return f"installing {line.count(',') + 1} packages"
    return ""


def _stub_line(module: str) -> str:
    return f'import sys, types; sys.modules.setdefault("{module}", types.ModuleType("{module}"))'


def _site_packages(build: Path) -> Path:
    scheme = "venv" if "venv" in sysconfig.get_scheme_names() else "posix_prefix"
    base = str(build / "venv")
    return Path(sysconfig.get_path("purelib", scheme, {"base": base, "platbase": base}))


def _installed(site_packages: Path) -> dict[str, str]:
    """Return name -> version of what stands in a site-packages folder, by its dist-info folders."""
    found = {}
    for info in site_packages.glob("*.dist-info"):
        if (info / "METADATA").is_file():
            name, _, version = info.name.removesuffix(".dist-info").partition("-")
            found[name] = version
    return dict(sorted(found.items()))


class NoTorch(Exception):
    """The interpreter does not run, or cannot import torch; the text says which."""


def torch_in(python: Path) -> str:
    """Return the version of the torch that an interpreter imports. Raises NoTorch."""
    program = "import safetensors, torch; print(torch.__version__)"
    variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    try:
        done = subprocess.run(
            [str(python), "-c", program],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoTorch(f"its interpreter does not run: {error}") from error
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise NoTorch(f"torch cannot be imported: {last}")
    return " ".join(done.stdout.split()[-1:])


def _wrong_torch(python: Path, layer: Layer, torch_of: Callable[[Path], str]) -> str:
    """Return "" when the interpreter imports the layer's torch, else what went wrong."""
    try:
        imported = torch_of(python)
    except NoTorch as error:
        return str(error)
    if imported != layer.torch_version:
        return f"expected torch {layer.torch_version}, found {imported}"
    return ""

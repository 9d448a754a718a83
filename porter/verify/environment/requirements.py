"""Requirements files of probe environments. The format is told in
:mod:`porter.verify.environment.venv`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from porter.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_DIRECTIVE = re.compile(r"#\s*porter:\s*(.*)\Z")


@dataclass(frozen=True)
class Requirements:
    """What a file asks for: pip lines, lines without dependencies, modules to stub, and its
    hash."""

    name: str
    lines: tuple[str, ...] = ()
    no_deps: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    sha256: str = hashlib.sha256(b"").hexdigest()


TORCH_ALONE = Requirements("torch-alone")


def canonical(name: str) -> str:
    """Return a distribution's name as the package index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def load_requirements(path: Path, layered: frozenset[str] = frozenset()) -> Requirements:
    """Read a requirements file; ``layered`` are names that no file may list.

    Raises BadInput naming file and line.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8")
    except FileNotFoundError:
        raise BadInput(f"{path}: expected a requirements file, found none there") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path}: expected UTF-8 text") from None
    lines: list[str] = []
    no_deps: list[str] = []
    stubs: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        where = f"{path}:{number}"
        requirement, directive = _split(line)
        if not requirement:
            if directive:
                stubs.append(_stub(where, directive))
            continue
        _check(where, requirement, layered)
        if directive not in ("", "no-deps"):
            raise BadInput(f"{where}: expected `# porter: no-deps`, found `# porter: {directive}`")
        (no_deps if directive else lines).append(requirement)
    return Requirements(
        name=path.stem,
        lines=tuple(lines),
        no_deps=tuple(no_deps),
        stubs=tuple(stubs),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def _split(line: str) -> tuple[str, str]:
    """Return (the requirement or "", what a `# porter:` comment says or "")."""
    before, mark, comment = line.partition("#")
    if mark and before and not before[-1].isspace():
        # pip takes a # for a comment only at the start or after white space (URLs have fragments).
        return line.strip(), ""
    found = _DIRECTIVE.match(mark + comment)
    return before.strip(), found.group(1).strip() if found else ""


def _stub(where: str, directive: str) -> str:
    word, _, module = directive.partition(" ")
    if word != "stub" or not _MODULE.match(module.strip()):
        raise BadInput(f"{where}: expected `# porter: stub MODULE`, found `# porter: {directive}`")
    return module.strip()


def _check(where: str, requirement: str, layered: frozenset[str]) -> None:
    name = _NAME.match(requirement)
    if name is None or requirement.endswith("\\"):
        raise BadInput(
            f"{where}: expected one requirement a line, such as numpy<2, found {requirement!r}"
        )
    if canonical(name.group()) in layered:
        raise BadInput(
            f"{where}: {name.group()} comes from the interpreter that runs porter; remove the line"
        )


def matching_release(requirement: str, torch_version: str) -> str:
    """Give ``torchvision`` and ``torchaudio`` without a version the release that is torch's."""
    found = re.match(r"2\.(\d+)\.", torch_version)
    if found is None:
        return requirement
    minor = int(found.group(1))
    releases = {"torchvision": f"0.{minor + 15}.*", "torchaudio": f"2.{minor}.*"}
    release = releases.get(canonical(requirement))
    return f"{requirement}=={release}" if release else requirement

"""Read the requirements files of probe environments.

:mod:`porter.verify.environment.venv` describes the format.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from porter.errors import BadInput

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")
_DIRECTIVE = re.compile(r"#\s*porter:\s*(.*)\Z")


@dataclass(frozen=True)
class Requirements:
    """A file's content: pip lines, lines without dependencies, modules to stub, and its hash."""

    name: str
    lines: tuple[str, ...] = ()
    no_deps: tuple[str, ...] = ()
    stubs: tuple[str, ...] = ()
    sha256: str = hashlib.sha256(b"").hexdigest()


TORCH_ALONE = Requirements("torch-alone")


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
    """Return (the requirement or "", the text of a `# porter:` comment or "")."""
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


def _check(where: str, line: str, layered: frozenset[str]) -> None:
    try:
        name = _parsed(line).name
    except InvalidRequirement:
        raise BadInput(
            f"{where}: expected one requirement a line, such as numpy<2, found {line!r}"
        ) from None
    if canonicalize_name(name) in layered:
        raise BadInput(
            f"{where}: {name} comes from the interpreter that runs porter; remove the line"
        )


def _parsed(line: str) -> Requirement:
    """Return the requirement of a line, without pip's options after it (--hash and the like)."""
    return Requirement(line.partition(" --")[0])


def matching_release(line: str, torch_version: str) -> str:
    """Return the line with torch's release for ``torchvision`` and ``torchaudio`` without one."""
    torch = Version(torch_version)
    releases = {"torchvision": f"0.{torch.minor + 15}.*", "torchaudio": f"2.{torch.minor}.*"}
    requirement = _parsed(line)
    release = releases.get(canonicalize_name(requirement.name))
    if torch.major != 2 or release is None or requirement.specifier or requirement.url:
        return line
    requirement.specifier = SpecifierSet(f"=={release}")
    return str(requirement)

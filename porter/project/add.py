"""``porter add``: pin an upstream and make a port of it that can be checked and verified.

Everything is found out before anything is written; then all files are written together
(:mod:`porter.project_change`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from porter.atomic import write_atomic
from porter.errors import BadInput
from porter.levels.lock import lock_path, lock_port
from porter.places import PINS_FILE
from porter.project.first_recipe import Start, choose_start, recipe_files
from porter.project.pins_text import entry_lines, with_entries
from porter.project.script_recipe import Command, command_files, read_command
from porter.project_change import change_files, lock_project, settle_project
from porter.scratch import scratch_folder
from porter.upstream.gitfetch import Progress
from porter.upstream.pins import COMMIT, LISTING, NAME_PATTERN, Pins, listing_text, parse_pins
from porter.upstream.propose import Proposal, Proposer
from porter.upstream.resolve import Address, Package, default_name, read_address
from porter.yamlnodes import read_bytes


@dataclass(frozen=True)
class Added:
    """What was added: the port, the pins of its submodules, and the files, by their paths."""

    port: Proposal
    others: tuple[Proposal, ...]
    files: tuple[str, ...]
    start: Start | None
    command: Command | None = None


@dataclass(frozen=True)
class Asked:
    """The command that a first recipe runs, the option ``steps`` that numbers its steps, and the
    expressions that make what it reads, by path."""

    words: Sequence[str]
    factories: Mapping[str, str] = field(default_factory=dict)
    steps: str = ""


def add_port(
    root: Path,
    upstream: str,
    *,
    name: str | None = None,
    commit: str | None = None,
    asked: Asked | None = None,
    progress: Progress | None = None,
) -> Added:
    """Pin ``upstream`` at ``commit`` in the project ``root`` as the port ``name``.

    The first recipe runs the command that is ``asked``, else it imports the upstream's package.
    Raises BadInput for a name in use, an upstream that is none and a command that it cannot run,
    SourceUnavailable when no source answers. The project then is as it was.
    """
    settle_project(root)
    path = root / PINS_FILE
    before = read_bytes(path)
    pins = parse_pins(before, path)
    if not os.access(root, os.W_OK):
        raise BadInput(f"{root}: expected a folder that can be written to, found a read-only one")
    address = read_address(upstream)
    if isinstance(address, Package) and commit is not None:
        raise BadInput(f"--commit {commit}: a release has none; write {address.name}==VERSION")
    port = name or default_name(address)
    _expect_free(pins, port)
    proposer = Proposer(root, dict(pins.pins), progress)
    if isinstance(address, Address):
        proposal = proposer.of_git(port, address, commit)
    else:
        proposal = proposer.of_release(port, address.name, address.version)
    others = tuple(proposer.others)
    for other in others:
        _expect_free(pins, other.pin.name, "patches")
    command = read_command(asked.words, proposal.files, asked.steps) if asked else None
    start = None
    texts: dict[str, str | bytes] = {}
    if command is not None and asked is not None:
        texts = command_files(port, command, asked.factories, proposal)
    else:
        start = choose_start(
            {path: text for path, text in proposal.files.items() if path.endswith(".py")},
            [port, proposal.facts.name or port, address.name],
        )
        if start is not None:
            texts |= recipe_files(port, start, proposal.facts.requirements)
    after = with_entries(before, path, [entry_lines(each) for each in (*others, proposal)])
    files = _write(root, before, after, proposal, others, texts)
    return Added(proposal, others, files, start, command)


def _expect_free(pins: Pins, name: str, *folders: str) -> None:
    """Refuse a name in use, or one whose files would replace others."""
    if not re.match(NAME_PATTERN, name):
        raise BadInput(
            f"{name!r}: expected a name of a-z, 0-9, '.', '_' and '-' that starts with a letter or"
            " digit; --name chooses one"
        )
    if name in pins.pins:
        raise BadInput(
            f"{pins.root / PINS_FILE}: {name!r} is pinned already; --name chooses another name"
        )
    folders = folders or ("patches", "recipes")
    places = [pins.root / folder / name for folder in folders]
    places += [pins.root / "recipes" / "environments" / f"{name}.txt"] * ("recipes" in folders)
    for place in places:
        if place.exists() or place.is_symlink():
            raise BadInput(
                f"{place}: exists, and {name!r} is not pinned; remove it or choose another --name"
            )


def _write(
    root: Path,
    before: bytes,
    after: bytes,
    proposal: Proposal,
    others: tuple[Proposal, ...],
    texts: Mapping[str, str | bytes],
) -> tuple[str, ...]:
    port = proposal.pin.name
    files: dict[str, bytes | None] = {}
    for each in (*others, proposal):
        for name, text in _pin_files(each, has_series=each is proposal).items():
            files[f"patches/{each.pin.name}/{name}"] = _bytes(text)
    files |= {f"recipes/{path}": _bytes(text) for path, text in texts.items()}
    files |= _locked(port, after, files)
    path = root / PINS_FILE
    with _lockable(root), lock_project(root):
        if read_bytes(path) != before:
            raise BadInput(f"{path}: changed while the upstream was fetched; run the command again")
        change_files(root, {**files, PINS_FILE: after})
    return (PINS_FILE, *sorted(files))


def _locked(port: str, pins: bytes, files: Mapping[str, bytes | None]) -> dict[str, bytes]:
    """Return the new port's lock, made in a project of its own."""
    with scratch_folder("add") as staged:
        write_atomic(staged / PINS_FILE, pins)
        for name, content in files.items():
            write_atomic(staged / name, content or b"")
        made = parse_pins(pins, staged / PINS_FILE)
        lock_port(staged, made, made.port(port))
        lock = lock_path(staged, port)
        return {lock.relative_to(staged).as_posix(): lock.read_bytes()}


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


@contextmanager
def _lockable(root: Path) -> Iterator[None]:
    """Let a project have the folder ``patches``, whose lock it is; not if the block fails."""
    folder = root / "patches"
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):
                folder.rmdir()
        raise


def _pin_files(proposal: Proposal, *, has_series: bool) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {LISTING: listing_text(proposal.listing)}
    if proposal.commit_body is not None:
        files[COMMIT] = proposal.commit_body
    return files | ({"series": ""} if has_series else {})

"""``porter add``: pin an upstream and make a port of it that can be checked and verified.

Everything is found out before anything is written. Then the new folders are written under other
names and renamed, the pins file is replaced last, and a failure removes what was made.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from porter.atomic import write_atomic
from porter.errors import BadInput
from porter.levels.lock import lock_port
from porter.places import PINS_FILE, patches_dir, recipes_dir
from porter.project.first_recipe import Start, choose_start, recipe_files
from porter.project.pins_text import entry_lines, with_entries
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


def add_port(
    root: Path,
    upstream: str,
    *,
    name: str | None = None,
    commit: str | None = None,
    progress: Progress | None = None,
) -> Added:
    """Pin ``upstream`` at ``commit`` in the project ``root`` as the port ``name``.

    Raises BadInput for a name in use and an upstream that is none, SourceUnavailable when no source
    answers. The project then is as it was.
    """
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
    start = choose_start(
        {path: text for path, text in proposal.files.items() if path.endswith(".py")},
        [port, proposal.facts.name or port, address.name],
    )
    after = with_entries(before, path, [entry_lines(each) for each in (*others, proposal)])
    files = _write(root, before, after, proposal, others, start)
    return Added(proposal, others, files, start)


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
    start: Start | None,
) -> tuple[str, ...]:
    port = proposal.pin.name
    path = root / PINS_FILE
    pins = parse_pins(after, path)
    texts = recipe_files(port, start, proposal.facts.requirements) if start else {}
    with _undone_on_failure() as made:
        for each in (*others, proposal):
            folder = patches_dir(root, each.pin.name)
            _new_folder(folder, _pin_files(each, has_series=each is proposal), made)
        recipes = {p.partition("/")[2]: t for p, t in texts.items() if p.startswith(f"{port}/")}
        if recipes:
            _new_folder(recipes_dir(root, port), recipes, made)
            environment = root / "recipes" / "environments" / f"{port}.txt"
            _parents(environment, made)
            made.append(environment)
            write_atomic(environment, texts[f"environments/{port}.txt"].encode())
        lock_port(root, pins, pins.port(port))
        if read_bytes(path) != before:
            raise BadInput(f"{path}: changed while the upstream was fetched; run the command again")
        write_atomic(path, after, sync=True)
    files = {file for each in made for file in (each, *each.rglob("*")) if file.is_file()}
    return (PINS_FILE, *sorted(file.relative_to(root).as_posix() for file in files))


def _pin_files(proposal: Proposal, *, has_series: bool) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {LISTING: listing_text(proposal.listing)}
    if proposal.commit_body is not None:
        files[COMMIT] = proposal.commit_body
    return files | ({"series": ""} if has_series else {})


def _new_folder(folder: Path, files: Mapping[str, str | bytes], made: list[Path]) -> None:
    """Make a folder with its files at once, under its own name only when it is complete."""
    _parents(folder, made)
    fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".new", dir=folder.parent))
    made.append(fresh)
    fresh.chmod(0o755)
    for name, text in files.items():
        (fresh / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    fresh.rename(folder)
    made[-1] = folder


def _parents(path: Path, made: list[Path]) -> None:
    """Make the folders above ``path``, and note those that were missing."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir()
        made.append(folder)


@contextmanager
def _undone_on_failure() -> Iterator[list[Path]]:
    """Give a list for what is made; remove all of it when the block fails or is interrupted."""
    made: list[Path] = []
    try:
        yield made
    except BaseException:
        for path in reversed(made):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        raise

"""What another upstream means for a pin besides its commit: wanted files, submodules, licence.

What the pin names and the new upstream lacks is taken out of the pin, or `porter check` would
refuse it. What only a person can decide is a note.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from porter.editing.pin_text import without_items
from porter.git.objects import MODE_SUBMODULE, Entry, Oid
from porter.terminal import listed
from porter.upstream.licence import FILE_NAME, licence_of
from porter.upstream.pins import Pin, Pins
from porter.upstream.store import Upstream
from porter.upstream.wanted import propose_wanted

Listing = Mapping[bytes, Entry]


def without_gone(text: str, pin: Pin, old: Listing, new: Listing) -> tuple[str, list[str]]:
    """Return the pins file without the wanted paths and submodules that ``new`` lacks; notes."""
    notes = []
    gone = [want for want in pin.wanted if _any(want, old) and not _any(want, new)]
    if gone and len(gone) < len(pin.wanted):
        text = without_items(text, pin.name, "wanted", gone)
        notes.append(f"no longer in the upstream, so not in `wanted`: {listed(gone)}")
    links = [each for each in pin.submodules if not _is_link(new, each)]
    if links:
        text = without_items(text, pin.name, "submodules", links)
        pins = listed({pin.submodules[each] for each in links})
        notes.append(f"no longer submodules, so not in the pin: {listed(links)}; pin {pins} stays")
    return text, notes


def _any(want: str, listing: Listing) -> bool:
    path = os.fsencode(want)
    return path in listing or any(each.startswith(path.rstrip(b"/") + b"/") for each in listing)


def _is_link(listing: Listing, path: str) -> bool:
    entry = listing.get(os.fsencode(path))
    return entry is not None and entry.mode == MODE_SUBMODULE


def change_notes(pin: Pin, old: Upstream, new: Upstream) -> Iterator[str]:
    """Yield what a person should decide: new files, new submodules, another licence."""
    before, now = old.listing(), new.listing()
    fresh = sorted(
        each
        for each in set(propose_wanted(now)) - set(propose_wanted(before))
        if not pin.wants(os.fsencode(each)) and not _any(each, before)
    )
    if fresh:
        yield f"new in the upstream, not in `wanted`: {listed(fresh)}"
    for path, entry in now.items():
        if entry.mode == MODE_SUBMODULE and path not in before:
            yield f"new submodule, not in the pin: {os.fsdecode(path)}"
    if (there := _licence_files(now)) == _licence_files(before):
        return
    texts = new.blobs(there.values())
    found = licence_of({name: texts[oid] for name, oid in there.items()}, None)
    if found.id != pin.license:
        yield f"licence: now {found.id} ({found.note}), the pin says {pin.license}: read it"


def _licence_files(listing: Listing) -> dict[str, Oid]:
    return {
        name: entry.oid
        for path, entry in listing.items()
        if FILE_NAME.fullmatch(name := os.fsdecode(path)) and entry.is_blob
    }


def dependents(pins: Pins, port: str, moved: set[str]) -> Iterator[str]:
    """Yield what other ports have to do: those that name the port as their companion, and those
    that are, or have as a submodule, one of the pins ``moved``."""
    for pin in pins.ports():
        if pin.name == port:
            continue
        if port in pin.companions:
            yield f"{pin.name} has {port} as its companion: `porter lock {pin.name}`"
        if pin.name in moved:
            yield f"{pin.name} is a port too: `porter rebase {pin.name}` moves its levels"
        if shared := moved & set(pin.submodules.values()):
            yield f"{pin.name} has {listed(shared)} as a submodule too, at another commit"

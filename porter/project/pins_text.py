"""Write a pin's entry into ``upstream_pins.yaml`` as text; every other byte stays as it is."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from porter.errors import BadInput
from porter.upstream.pins import Sdist, parse_pins
from porter.upstream.propose import Proposal
from porter.upstream.wanted import left_out_text

_PLAIN_URL = re.compile(r"(https?|git|ssh|file)://[\w./@:~+-]+")
_PLAIN = re.compile(r"[A-Za-z_.][\w./+-]*")


def entry_lines(proposal: Proposal) -> list[str]:
    """Return the lines of a pin's entry, not indented; comments say what a person should decide."""
    pin = proposal.pin
    rows = [f"{pin.name}:"]
    if pin.sdist is not None:
        rows += ["  sdist: # the release is the pin; its tree is that of the unpacked archive"]
        rows += [f"    {row}" for row in _sdist_lines(pin.sdist)]
    else:
        rows += [
            f"  url: {_text(pin.url or '')}",
            _noted(f"  commit: {_id(pin.commit or '')}", proposal.ref),
        ]
    rows += [f"  tree: {_id(pin.tree)}"]
    rows += [_noted(f"  license: {pin.license}", proposal.licence.note)]
    if pin.wanted:
        left_out = left_out_text(proposal.left_out)
        rows += [_noted("  wanted:", f"left out: {left_out}" if left_out else "")]
        rows += [f"    - {_text(path)}" for path in pin.wanted]
    if pin.submodules:
        rows += ["  submodules:"]
        rows += [f"    {_text(path)}: {name}" for path, name in pin.submodules.items()]
    if (release := proposal.release) is not None:
        covers = f"covers {release.covered} of {release.wanted} wanted files"
        rows += ["  alternates:", f"    - sdist: # {covers}"]
        rows += [f"        {row}" for row in _sdist_lines(release.sdist)]
    return rows


def _sdist_lines(sdist: Sdist) -> list[str]:
    return [
        f"name: {_text(sdist.name)}",
        f"version: {json.dumps(sdist.version)}",
        f"sha256: {_id(sdist.sha256)}",
    ]


def _noted(row: str, note: str) -> str:
    """Return a row with a comment, which is one line whatever an upstream put into its names."""
    note = "".join(c if c.isprintable() else "?" for c in " ".join(note.split()))
    return f"{row} # {note}" if note else row


def _id(digits: str) -> str:
    """Return an id as YAML: in quotes where it would pass for a number."""
    return json.dumps(digits) if re.fullmatch(r"[0-9]*e?[0-9]*", digits) else digits


def _text(value: str) -> str:
    """Return a text as YAML: plain where it is read back as itself, else in quotes."""
    is_plain = _PLAIN.fullmatch(value) or _PLAIN_URL.fullmatch(value)
    if is_plain and yaml.safe_load(value) == value and not value.endswith(":"):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


def with_entries(data: bytes, path: Path, entries: Sequence[Sequence[str]]) -> bytes:
    """Return the bytes of the pins file with ``entries`` added at the end of ``pins``.

    Raises BadInput when they cannot be added as text, which leaves the rest as it is.
    """
    before = parse_pins(data, path)
    text = data.decode()
    top = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(top, yaml.MappingNode)  # parse_pins has read it
    keys = [key.value for key, _ in top.value]
    key, pins = top.value[keys.index("pins")]
    after = [k for k, _ in top.value if k.start_mark.index > key.start_mark.index]
    indent = " " * (key.start_mark.column + 2)
    if pins.flow_style and pins.value:
        raise BadInput(
            f"{path}:{pins.start_mark.line + 1}: expected the pins as a block, each on lines of its"
            " own, found them in braces; rewrite them, then add again"
        )
    if pins.flow_style:  # `pins: {}`, as `porter init` writes it
        head = text[: pins.start_mark.index].rstrip(" ")
        rest = text[pins.end_mark.index :]
        comment, _, _ = rest.partition("\n")
        at = len(head) + len(comment) + 1
        text = head + rest
    else:
        indent = " " * pins.value[0][0].start_mark.column
        at = after[0].start_mark.index if after else len(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    blocks = [newline.join(f"{indent}{row}" for row in rows) + newline for rows in entries]
    head = text[:at] if text[:at].endswith("\n") else text[:at] + newline
    gap = "" if pins.flow_style else newline
    made = (head + gap + newline.join(blocks) + text[at:]).encode()
    names = [rows[0].rstrip(":") for rows in entries]
    found = parse_pins(made, path)
    if list(found.pins) != [*before.pins, *names] or any(
        found.pins[name] != pin for name, pin in before.pins.items()
    ):
        raise BadInput(
            f"{path}: expected a file that ends with its pins, found one in which the entry of"
            f" {names[0]} would change another; move `pins` to its end"
        )
    return made

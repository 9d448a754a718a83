"""A pin's entry is added to the pins file as text; no other byte changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.errors import BadInput
from porter.git.objects import Entry, Oid
from porter.project.pins_text import entry_lines, with_entries
from porter.upstream.licence import Licence
from porter.upstream.metadata import Metadata
from porter.upstream.pins import GitSource, Pin, Sdist, parse_pins
from porter.upstream.propose import Covering, Proposal

PATH = Path("upstream_pins.yaml")
A = "a" * 40
OLD = f"""\
# first
version: 1 # one
pins:
  old: # mine
    url:   https://h.org/old
    commit: {A}
    tree: {A}
    license: MIT
"""


def proposal(name: str = "new", note: str = "LICENSE", **changes: object) -> Proposal:
    values = {
        "url": "https://h.org/new", "commit": Oid("b" * 40), "tree": Oid("c" * 40),
        "license": "MIT", "wanted": ("src/",), **changes,
    }  # fmt: skip
    pin = Pin(name=name, sources=(GitSource("https://h.org/new", Oid("b" * 40)),), **values)  # type: ignore[arg-type]
    listing = {b"src/a.py": Entry(0o100644, Oid(A)), b"docs/b.md": Entry(0o100644, Oid(A))}
    return Proposal(pin, "main", Licence("MIT", note), listing, None, Metadata(), {})


@pytest.mark.parametrize(
    "text",
    [
        OLD,
        OLD.rstrip("\n"),
        OLD + "# last words\n",
        OLD + "\n\n  # of the pins\n",
        OLD.replace("\n", "\r\n"),
        OLD.replace("\n  ", "\n      "),
        "version: 1\npins: {}\n",
        "pins: {}  # none\nversion: 1",
        OLD.replace("version: 1 # one\n", "") + "version: 1\n# end\n",
    ],
)
def test_an_entry_goes_to_the_end_of_the_pins(text: str) -> None:
    made = with_entries(text.encode(), PATH, [entry_lines(proposal())]).decode()
    before, after = parse_pins(text.encode(), PATH), parse_pins(made.encode(), PATH)
    assert list(after.pins) == [*before.pins, "new"]
    assert all(after.pins[name] == pin for name, pin in before.pins.items())
    new = after.pins["new"]
    assert (new.url, new.commit, new.wanted) == ("https://h.org/new", "b" * 40, ("src/",))
    kept = text.replace("{}", "").splitlines()
    rows = iter(made.splitlines())
    assert all(any(row.split() == line.split() for row in rows) for line in kept)
    assert ("\r\n" in made) == ("\r\n" in text)


def test_all_that_was_found_out_is_in_the_entry() -> None:
    sdist = Sdist("new", "1.0", "d" * 64)
    found = Proposal(
        **{**vars(proposal(submodules={"LIB": "old"})), "release": Covering(sdist, 1, 2)}
    )
    assert entry_lines(found) == [
        "new:",
        "  url: https://h.org/new",
        f"  commit: {'b' * 40} # main",
        f"  tree: {'c' * 40}",
        "  license: MIT # LICENSE",
        "  wanted: # left out: docs/ (1)",
        "    - src/",
        "  submodules:",
        "    LIB: old",
        "  alternates:",
        "    - sdist: # covers 1 of 2 wanted files",
        "        name: new",
        '        version: "1.0"',
        f"        sha256: {'d' * 64}",
    ]


def test_an_id_that_looks_like_a_number_is_put_in_quotes() -> None:
    rows = entry_lines(proposal(commit=Oid("1" * 40), tree=Oid("1" * 20 + "e" + "1" * 19)))
    pins = parse_pins(with_entries(OLD.encode(), PATH, [rows]), PATH)
    assert pins.port("new").commit == "1" * 40


def test_pins_in_braces_are_left_alone() -> None:
    entry = f"{{url: 'https://h.org/x', commit: {A}, tree: {A}, license: MIT}}"
    text = f"version: 1\npins: {{old: {entry}}}"
    with pytest.raises(BadInput, match=r"upstream_pins.yaml:2: expected the pins as a block"):
        with_entries(text.encode(), PATH, [entry_lines(proposal())])


_paths = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1
).filter(
    lambda path: (
        not path.startswith("/") and not {".", ".."} & set(path.split("/")) and "\n" not in path
    )
)


@given(st.lists(_paths, min_size=1, max_size=5, unique=True), st.text(max_size=40))
def test_any_path_and_any_note_survive(paths: list[str], note: str) -> None:
    rows = entry_lines(proposal(wanted=tuple(paths), note=note, submodules={paths[0]: "old"}))
    pins = parse_pins(with_entries(OLD.encode(), PATH, [rows]), PATH)
    assert pins.port("new").wanted == tuple(paths)
    assert pins.port("new").submodules == {paths[0]: "old"}
    assert pins.port("new").license == "MIT"

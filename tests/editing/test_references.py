"""Where YAML names levels, and how that text changes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from porter.editing.references import LevelChange, changed_yaml
from porter.mutation.plan import Equivalent
from porter.verify.recipe import claims, schema
from tests.small_project import write_files

OLD = ("upstream", "one", "two", "three")


def changed(root: Path, text: str, change: LevelChange) -> tuple[str, list[str]]:
    write_files(root, {"recipes/toy/a.yaml": text})
    contents, notes = changed_yaml(root, change)
    return contents.get("recipes/toy/a.yaml", text.encode()).decode(), notes


def test_every_place_of_the_schemas_that_names_a_level_is_known() -> None:
    structs = [
        each
        for module in (schema, claims)
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, msgspec.Struct)
    ]
    found = {
        (struct.__name__, field)
        for struct in {*structs, Equivalent}
        for field in struct.__struct_fields__
        if "level" in field or field in ("first", "last", "companions")
    }
    assert found == {
        ("Recipe", "levels"), ("Recipe", "companions"), ("Claim", "levels"),
        ("LevelRange", "first"), ("LevelRange", "last"), ("Against", "level"),
        ("LessThan", "level"), ("Ratio", "level"), ("Equivalent", "level"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("levels: [one, two]\n", "levels: [one, 2nd]\n"),
        ('levels: ["two"]  # é two\n', 'levels: ["2nd"]  # é two\n'),
        ("# é\ntitle: é two\nlevels: {to: tw}\n", "# é\ntitle: é two\nlevels: {to: 2nd}\n"),
        ("levels: [2, 3]\n", "levels: [2, 3]\n"),
        ("levels: all\n", "levels: all\n"),
        ("levels: [upstream, 0]\n", "levels: [upstream, 0]\n"),
        ("levels: [nothing]\n", "levels: [nothing]\n"),
        ("claims:\n- against: {level: previous}\n", "claims:\n- against: {level: previous}\n"),
        ("levels: &a [two]\nclaims:\n- levels: *a\n", "levels: &a [2nd]\nclaims:\n- levels: *a\n"),
        ("companions: {mate: two}\n", "companions: {mate: two}\n"),
    ],
)
def test_a_renamed_level(tmp_path: Path, before: str, after: str) -> None:
    change = LevelChange("toy", OLD, ("upstream", "one", "2nd", "three"), {"two": "2nd"})
    assert changed(tmp_path, before, change) == (after, [])


def test_a_name_that_yaml_would_not_read_as_text_gets_quotes(tmp_path: Path) -> None:
    change = LevelChange("toy", OLD, ("upstream", "one", "1.5", "three"), {"two": "1.5"})
    assert changed(tmp_path, "levels: [two]\n", change)[0] == 'levels: ["1.5"]\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("levels: [one, two, three]\n", "levels: [one, three]\n"),
        ("levels: [two, one]\n", "levels: [one]\n"),
        ("levels: [1, 2, 3]\n", "levels: [1, 2]\n"),
        ("levels:\n- one  # first\n- two  # second\n", "levels:\n- one  # first\n"),
        ("levels: {from: two, to: 3}\n", "levels: {from: one, to: 2}\n"),
    ],
)
def test_a_folded_level(tmp_path: Path, before: str, after: str) -> None:
    change = LevelChange("toy", OLD, ("upstream", "one", "three"), {"two": "one"})
    assert changed(tmp_path, before, change) == (after, [])


def test_a_prefix_that_means_two_levels_now_is_written_out(tmp_path: Path) -> None:
    change = LevelChange("toy", OLD, (*OLD, "threads"))
    assert changed(tmp_path, "levels: [thr, three]\n", change)[0] == "levels: [three, three]\n"


def test_a_file_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    change = LevelChange("toy", OLD, OLD[:3])
    text, notes = changed(tmp_path, "levels: [\n", change)
    assert (text, notes[0].startswith("recipes/toy/a.yaml: not read")) == ("levels: [\n", True)

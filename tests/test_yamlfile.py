"""YAML loading: every error is one line with file, line, key, expected and found."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from porter.errors import BadInput
from porter.yamlfile import examine, load, loads


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    seconds: Annotated[float, Meta(gt=0, description="more than 0 seconds")] = 1.0
    tries: int | None = None


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    kind: Literal["quick", "slow"] = "quick"
    limits: Limits = Limits()
    tags: tuple[str, ...] = ()
    levels: str | tuple[str, ...] = "all"
    parameters: dict[str, int | float | bool | str] = {}


def read(text: str) -> Recipe:
    return loads(text.encode(), Path("r.yaml"), Recipe).value


def test_reads_values_of_every_kind() -> None:
    text = (
        "title: t\nkind: slow\nlimits: {seconds: 3}\ntags: [a, b]\nlevels: [x]\nparameters: {n: 2}"
    )
    expected = Recipe("t", "slow", Limits(3.0), ("a", "b"), ("x",), {"n": 2})
    assert read(text) == expected


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("title: t\ntitel: u", "r.yaml:2: titel: expected 'title' (near this name) or another of "),
        ("title: t\ntitle: u", "r.yaml:2: title: expected one entry (the first is on line 1), "),
        ("kind: slow", "r.yaml:1: expected the key 'title', found none"),
        ("title: 3", "r.yaml:1: title: expected text, found 3 (put it in quotes to make it text)"),
        ("title: t\nkind: fast", "r.yaml:2: kind: expected one of quick, slow, found 'fast'"),
        ("title: t\nkind: quik", "r.yaml:2: kind: expected 'quick' (near this name) or another"),
        ("title: t\nkind: 3", "r.yaml:2: kind: expected one of quick, slow, found 3"),
        (
            "title: t\nlimits:\n  seconds: 0",
            "r.yaml:3: limits.seconds: expected more than 0 seconds",
        ),
        (
            "title: t\nlimits: [1]",
            "r.yaml:2: limits: expected a mapping with the keys seconds, tries",
        ),
        ("title: t\ntags:\n- a\n- {b: 1}", "r.yaml:4: tags[1]: expected text, found a mapping"),
        ("title: t\ntags: a", "r.yaml:2: tags: expected a list, found 'a'"),
        ("title: t\nlimits:\n  tries: x", "r.yaml:3: limits.tries: expected "),
        ("title: [}", "r.yaml:1: expected YAML, found an error: "),
        ("title: t\n\tkind: slow", "r.yaml:2: expected YAML, found an error: "),
        (
            "title: !!python/object:os.system t",
            "r.yaml:1: title: expected a plain value, found the",
        ),
        ("a: &a {title: t}\n<<: *a", "r.yaml:2: expected keys, found a merge key"),
        ("title: t\n---\ntitle: u", "r.yaml:2: expected YAML, found an error: "),
        ("", "r.yaml: expected YAML, found an empty file"),
        ("? [a]\n: 1", "r.yaml:1: expected a plain key, found a list or mapping as a key"),
        ("just text", "r.yaml:1: expected a mapping with the keys title, "),
    ],
)
def test_errors_name_line_key_expected_and_found(text: str, error: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(text)
    assert str(caught.value).startswith(error)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_named_with_their_line() -> None:
    with pytest.raises(BadInput, match=r"r.yaml:2: expected UTF-8, found byte 0xff"):
        loads(b"title: t\nkind: \xff", Path("r.yaml"), Recipe)


def test_words_that_yaml_1_1_takes_for_booleans_and_dates_are_text() -> None:
    assert read("title: on\ntags: [yes, no, 2024-01-02, 1e3x]").tags == (
        "yes",
        "no",
        "2024-01-02",
        "1e3x",
    )


def test_quoted_numbers_are_text() -> None:
    assert read("title: '0.20'").title == "0.20"


@pytest.mark.parametrize("value", ["1", "-3", "2.5", "1e-3", "true", "text"])
def test_a_union_of_plain_types_keeps_the_value(value: str) -> None:
    found = read(f"title: t\nparameters: {{k: {value}}}").parameters["k"]
    assert str(found).lower() == str({"1e-3": 0.001}.get(value, value))


def test_aliases_cannot_multiply_a_small_file_into_a_huge_value() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(BadInput, match="aliases multiply"):
        loads("\n".join(lines).encode(), Path("r.yaml"), dict)


def test_a_rule_of_the_callers_names_the_line_of_the_nearest_key() -> None:
    document = loads(b"title: t\nlimits:\n  seconds: 2\n", Path("r.yaml"), Recipe)
    assert str(document.error(("limits", "seconds"), "1", 2)) == (
        "r.yaml:3: limits.seconds: expected 1, found 2"
    )
    assert document.line(("limits", "absent")) == 2


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    from porter.yamlfile import load

    with pytest.raises(BadInput, match=r"none\.yaml: expected a YAML file, found none$"):
        load(tmp_path / "none.yaml", Recipe)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- " * 40_000, 1),
        ("title: " + "[" * 40_000, 1),
        ("title: t\n" + "".join(f"{' ' * i}a:\n" for i in range(200)), 52),
    ],
)
def test_deep_values_are_refused_before_they_are_composed(text: str, line: int) -> None:
    with pytest.raises(BadInput) as error:
        read(text)
    told = f"r.yaml:{line}: expected values nested at most 50 deep, found them nested deeper"
    assert str(error.value) == told


def test_so_many_digits_are_no_number() -> None:
    assert read("title: t\nparameters: {n: " + "9" * 5_000 + "}").parameters == {"n": "9" * 5_000}
    with pytest.raises(BadInput, match=r"r.yaml:2: limits.tries: expected .* whole number"):
        read("title: t\nlimits: {tries: " + "9" * 5_000 + "}")


class Nested(msgspec.Struct, frozen=True):
    any: object = None


def test_aliases_that_nest_or_hold_themselves_are_refused() -> None:
    chain = "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 100))
    for text in ("any: &a [*a]\n", f"any:\n  a0: &a0 x\n  {chain}".replace("\na", "\n  a")):
        with pytest.raises(BadInput, match="nested at most 50 deep"):
            loads(text.encode(), Path("r.yaml"), Nested)


def test_a_file_of_any_size_is_read_no_further_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(BadInput, match=r"big.yaml: expected YAML of at most 16 MiB, found more"):
        load(path, Recipe)


def test_every_problem_of_a_file_is_found() -> None:
    text = "titel: t\nkind: fast\nlimits: {seconds: 0, tries: x}\ntags: [a, {b: 1}, 3]\ntags: []\n"
    with pytest.raises(BadInput) as caught:
        read(text)
    assert str(caught.value).startswith("r.yaml:5: tags: expected one entry (the first is on line")
    assert str(caught.value).endswith(
        "; and 6 more in this file (`porter --verbose matrix` lists them)"
    )
    lines = [line.split(": expected")[0] for line in caught.value.detail.splitlines()]
    assert lines == [
        "r.yaml:5: tags",
        "r.yaml:1: titel",
        "r.yaml:2: kind",
        "r.yaml:3: limits.seconds",
        "r.yaml:3: limits.tries",
        "r.yaml:4: tags[1]",
        "r.yaml:4: tags[2]",
    ]


def test_a_single_problem_is_a_line_of_its_own() -> None:
    with pytest.raises(BadInput) as caught:
        read("title: 3")
    assert "more in this file" not in str(caught.value)
    assert caught.value.detail == ""


def test_what_is_right_can_be_read_beside_what_is_wrong() -> None:
    shape = dict[str, Limits]
    text = b"a: {seconds: 2}\nb: {seconds: 0}\nc: {tries: 1}\n"
    document, problems = examine(text, Path("r.yaml"), shape)
    assert document.value == {"a": Limits(2.0), "c": Limits(tries=1)}
    assert [str(problem).split(": ")[0] for problem in problems] == ["r.yaml:2"]
    assert document.line(("b", "seconds")) == 2

"""``needs`` selects the right files of a tree."""

from __future__ import annotations

import pytest

from porter.upstream.needs import Needs, wrong_entry


@pytest.mark.parametrize(
    ("entries", "path", "taken"),
    [
        ("src/", "src/a/b.py", True),
        ("src", "src/a/b.py", True),
        ("src/", "srcs/a.py", False),
        ("train.py", "train.py", True),
        ("train.py", "a/train.py", False),
        ("*.py", "train.py", True),
        ("*.py", "a/train.py", False),
        ("src/**/*.py", "src/b.py", True),
        ("src/**/*.py", "src/a/c/b.py", True),
        ("src/**/*.py", "src/a/b.json", False),
        ("**/*.json", "a/b/c.json", True),
        ("src/**", "src/a/b.json", True),
        ("examples/*/", "examples/one/two/x.py", True),
        ("examples/*/", "examples/x.py", False),
        ("model_[0-9].py", "model_1.py", True),
        ("model_[!0-9].py", "model_1.py", False),
        ("model_?.py", "model_/.py", False),
        ("src/ !src/old/", "src/old/a.py", False),
        ("!src/old/ src/", "src/old/a.py", False),
        ("src/ !**/*_old.py", "src/a_old.py", False),
        ("!big.bin", "src/a.py", True),
        ("!big.bin", "big.bin", False),
        ("a.b", "aXb", False),
    ],
)
def test_entries_are_folders_files_patterns_and_exclusions(
    entries: str, path: str, taken: bool
) -> None:
    assert Needs(tuple(entries.split())).takes(path) is taken


@pytest.mark.parametrize("entries", ["", "src/", "**", "src/**", "!src/none/"])
@pytest.mark.parametrize(
    "path",
    [
        "src/README.md", "src/a.ipynb", "src/b.PNG", "src/c.mp4", "src/tests/test_a.py",
        "src/docs/conf.py", "src/LICENSE",
    ],
)  # fmt: skip
def test_what_stands_beside_code_is_not_taken_by_the_way(entries: str, path: str) -> None:
    assert not Needs(tuple(entries.split())).takes(path)


@pytest.mark.parametrize(
    ("entry", "path"),
    [
        ("src/README.md", "src/README.md"),
        ("src/**/*.md", "src/a/README.md"),
        ("tests/", "tests/fixtures/picture.png"),
        ("tests", "tests/test_a.py"),
        ("**/tests/", "src/tests/test_a.py"),
        ("docs/conf.py", "docs/conf.py"),
        ("LICENSE", "LICENSE"),
    ],
)
def test_what_is_named_counts_whatever_it_is(entry: str, path: str) -> None:
    assert Needs((entry,)).takes(path)


@pytest.mark.parametrize("path", ["a.txt", "a.json", "a.yaml", "a.pkl", "a.zip", "testing/a.py"])
def test_text_configuration_and_data_count_like_code(path: str) -> None:
    assert Needs().takes(path)


@pytest.mark.parametrize(
    ("entries", "folder", "may"),
    [
        ("", "LIB", True),
        ("LIB/", "LIB", True),
        ("LIB/src/*.py", "LIB", True),
        ("LIBRARY/", "LIB", False),
        ("src/", "LIB", False),
        ("*.py", "LIB", False),
        ("**/*.py", "LIB", True),
        ("a/", "a/LIB", True),
        ("*/x.py", "LIB", True),
    ],
)
def test_a_submodule_is_opened_only_where_something_of_it_may_be_needed(
    entries: str, folder: str, may: bool
) -> None:
    assert Needs(tuple(entries.split())).may_take_inside(folder) is may


def test_the_key_distinguishes_needs() -> None:
    keys = {Needs(entries).key() for entries in [(), ("a",), ("a", "b"), ("b", "a"), ("!a",)]}

    assert len(keys) == 5


@pytest.mark.parametrize("entry", ["", "!", "/abs", "../up", "a//b", "a/./b", "src/**.py", "!/x"])
def test_an_entry_that_cannot_mean_a_path_is_wrong(entry: str) -> None:
    assert wrong_entry(entry) is not None


@pytest.mark.parametrize("entry", ["src/", "a.py", "src/**/*.py", "**", "!tests/", ".github/"])
def test_other_entries_are_right(entry: str) -> None:
    assert wrong_entry(entry) is None

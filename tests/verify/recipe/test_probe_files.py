"""Which neighbours belong to a probe."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.verify.recipe.load import load_recipe
from porter.verify.recipe.probe_files import probe_files
from tests.verify.folder_trees import write_recipe

CLAIMS = 'claims: [{outputs: "*", parity: {}}]\n'


def names(recipe: Path) -> list[str]:
    return [str(path.relative_to(recipe.parent)) for path in probe_files(load_recipe(recipe))]


@pytest.mark.parametrize(
    ("probe", "belonging"),
    [
        ("import one_more", ["one_more.py"]),
        ("from one_more import a", ["one_more.py"]),
        ("import package.inner", ["package/__init__.py", "package/inner.py"]),
        ("from package import inner", ["package/__init__.py", "package/inner.py"]),
        ("import through", ["one_more.py", "through.py"]),
        ("def run(probe):\n    import one_more", ["one_more.py"]),
        ("run = __import__('one_more').run", ["one_more.py"]),
        ("SCRIPT = '''\nfrom one_more import a\n'''", ["one_more.py"]),
        ("'Like one_more.'\n# and one_more\none_more = 1", []),
        ("import circular", ["circular.py"]),
        ("import torch", []),
    ],
)
def test_a_neighbour_that_a_probe_names_belongs_to_it(
    tmp_path: Path, probe: str, belonging: list[str]
) -> None:
    recipe = write_recipe(tmp_path, "port", "the", CLAIMS, probe)
    (recipe.parent / "package").mkdir()
    for path, text in {
        "one_more.py": "a = 1",
        "through.py": "import one_more",
        "circular.py": "import the_probe",
        "stranger.py": "import one_more",
        "package/__init__.py": "",
        "package/inner.py": "",
    }.items():
        (recipe.parent / path).write_text(text)

    assert names(recipe) == sorted([*belonging, "the_probe.py"])


def test_a_neighbour_that_a_parameter_names_belongs_to_it(tmp_path: Path) -> None:
    extra = CLAIMS + "parameters: {size: big.sizes}\nvary: {how: [slow, quick]}\n"
    recipe = write_recipe(tmp_path, "port", "the", extra, "def run(probe): ...")
    for name in ("big", "quick", "how", "other"):
        (recipe.parent / f"{name}.py").touch()

    assert names(recipe) == ["big.py", "how.py", "quick.py", "the_probe.py"]


def test_every_neighbour_belongs_to_a_probe_that_is_no_python(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "port", "the", CLAIMS, "def run(:")
    (recipe.parent / "stranger.py").touch()

    assert names(recipe) == ["stranger.py", "the_probe.py"]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, "port", "the", CLAIMS, "import one")
    for name in ("one", "another"):
        (recipe.parent / f"{name}.py").touch()
    assert names(recipe) == ["one.py", "the_probe.py"]

    (recipe.parent / "the_probe.py").write_text("import another")

    assert names(recipe) == ["another.py", "the_probe.py"]


@pytest.mark.parametrize("damage", [None, b"", b"3", b'{"'])
def test_names_are_cached_and_a_damaged_entry_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes | None
) -> None:
    recipe = write_recipe(tmp_path, "port", "the", CLAIMS, "import one_more")
    (recipe.parent / "one_more.py").touch()
    monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("porter.verify.recipe.probe_files._known", {})
    first = names(recipe)
    notes = list((tmp_path / "cache" / "probe-names").iterdir())
    parsed = []

    def parse(*args: object) -> ast.AST:
        parsed.append(args)
        return real_parse(*args)

    real_parse: Callable[..., ast.AST] = ast.parse
    monkeypatch.setattr(ast, "parse", parse)
    for note in notes:
        note.write_bytes(note.read_bytes() if damage is None else damage)
    monkeypatch.setattr("porter.verify.recipe.probe_files._known", {})

    assert names(recipe) == first == ["one_more.py", "the_probe.py"]
    assert len(parsed) == (0 if damage is None else 2)
    assert len(notes) == 2

"""What a first recipe imports is chosen from the source, without importing it."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.project.first_recipe import Start, choose_start, environment_text, recipe_files
from porter.verify.environment.requirements import load_requirements
from porter.verify.recipe.load import load_recipe

NET = b"import torch\n\nclass Net(torch.nn.Module):\n    pass\n"


def chosen(files: dict[str, bytes], *names: str) -> Start:
    found = choose_start(files, names)
    assert found is not None
    return found


def test_a_package_with_names_is_imported_whole() -> None:
    files = {
        "model/__init__.py": b"from .net import Net\n",
        "model/net.py": NET,
        "run.py": b"go()\n",
    }
    assert chosen(files) == Start(".", ("model",), ("model/",), {})


def test_the_package_of_the_projects_name_comes_before_a_bigger_one() -> None:
    many = {f"extra/m{number}.py": NET for number in range(9)}
    files = {"src/extra/__init__.py": b"x = 1\n", "src/my_model/__init__.py": b"y = 1\n"}
    files |= {f"src/{path}": text for path, text in many.items()}
    assert chosen(files).modules == ("extra",)
    assert chosen(files, "my-model").modules == ("my_model",)
    assert chosen(files).root == "src"
    assert chosen(files).needs == ("src/",)


def test_without_a_package_modules_that_only_define_are_imported() -> None:
    files = {
        "src/__init__.py": b"",
        "src/train.py": b"import blocks.net\nmain()\n",
        "src/args.py": b"args = parser().parse_args()\n\n\ndef f(): ...\n",
        "src/blocks/__init__.py": b"",
        "src/blocks/net.py": NET,
        "src/blocks/odd.py": b"import unheard_of\ndef f(): ...\n",
        "src/blocks/old.py": b"print 'python 2'\n",
    }
    assert chosen(files) == Start("src", ("blocks.net",), ("src/",), {})


def test_tests_scripts_and_set_up_are_not_the_upstreams_code() -> None:
    files = {"tests/__init__.py": b"x = 1\n", "setup.py": b"def f(): ...\n", "scripts/a.py": NET}
    assert choose_start(files, ()) is None


def test_packages_are_found_through_every_import_that_always_happens() -> None:
    files = {
        "m/__init__.py": b"from . import net\nfrom m.deep import layer\nimport json\n",
        "m/net.py": b"import PIL.Image\n\ntry:\n    import flash\nexcept ImportError: ...\n",
        "m/deep/__init__.py": b"",
        "m/deep/layer.py": b"from ...x import y\nfrom ..net import z\nimport unheard_of as u\n",
    }
    assert chosen(files).imports == {"PIL": "m/net.py:1", "unheard_of": "m/deep/layer.py:3"}


def test_only_packages_that_are_certainly_meant_are_installed() -> None:
    start = Start(
        ".", ("m",), ("m/",), dict.fromkeys(("PIL", "einops", "unheard_of", "stated"), "m/a.py:1")
    )
    rows = environment_text("p", start, ("torch==1.7", "stated>=2", "other")).splitlines()[2:]
    assert rows == [
        "pillow",
        "einops",
        "# unheard_of: imported at m/a.py:1; name its package here",
        "stated  # upstream: stated>=2",
        "# What the upstream lists besides:",
        "# other",
    ]


@pytest.mark.parametrize("imports", [{}, {"torchvision": "m/a.py:1", "pkg_resources": "m/a.py:2"}])
def test_what_is_written_can_be_loaded(tmp_path: Path, imports: dict[str, str]) -> None:
    start = Start("src", ("m.a", "m.b"), ("src/",), imports)
    for path, text in recipe_files("p", start, ("x[y]>=1; python_version<'3'",)).items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    recipe = load_recipe(tmp_path / "p" / "imports.yaml")
    assert recipe.recipe.parameters == {"modules": ["m.a", "m.b"]}
    assert recipe.environment is not None
    found = load_requirements(recipe.environment, frozenset({"torch"}))
    assert ("torchvision" in found.no_deps) == bool(imports)


def test_a_folder_with_an_odd_name_can_be_needed(tmp_path: Path) -> None:
    start = Start(".", ("m",), ('a "b": c/',), {})
    text = recipe_files("p", start, ())["p/imports.yaml"]
    (tmp_path / "imports.yaml").write_text(text)
    (tmp_path / "imports.py").write_text("")
    assert load_recipe(tmp_path / "imports.yaml").recipe.needs == ('a "b": c/',)

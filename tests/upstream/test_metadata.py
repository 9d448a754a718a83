"""Package metadata is read from files, as literals; nothing is executed."""

from __future__ import annotations

import pytest

from porter.upstream.metadata import Metadata, read_metadata, version_in

PYPROJECT = b"""[project]
name = "my-model"
version = "1.2"
license = {text = "MIT"}
dependencies = ["numpy>=1.2", "einops"]
"""
SETUP_CFG = b"""[metadata]
name = my-model
version = attr: my_model.__version__
license = MIT
[options]
install_requires =
    torch
    tqdm  # progress
"""
SETUP_PY = b"""import os
from setuptools import setup
setup(name="my-model", version="1.2", license="MIT", packages=find(), install_requires=["tqdm"])
os.abort()
"""
PKG_INFO = (
    b"Metadata-Version: 2.1\nName: my-model\nVersion: 1.2\nRequires-Dist: tqdm (>=4) ; extra\n"
)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({"pyproject.toml": PYPROJECT}, ("my-model", "1.2", "MIT", ("numpy>=1.2", "einops"))),
        ({"setup.cfg": SETUP_CFG}, ("my-model", None, "MIT", ("torch", "tqdm"))),
        ({"setup.py": SETUP_PY}, ("my-model", "1.2", "MIT", ("tqdm",))),
        ({"PKG-INFO": PKG_INFO}, ("my-model", "1.2", None, ("tqdm (>=4)",))),
        (
            {"requirements.txt": b"-r x\nnumpy\n# no\ngit+https://x/y\n"},
            (None, None, None, ("numpy",)),
        ),
        ({}, (None, None, None, ())),
    ],
)
def test_facts_are_read_from_every_kind_of_file(
    files: dict[str, bytes], found: tuple[str | None, str | None, str | None, tuple[str, ...]]
) -> None:
    assert read_metadata(files) == Metadata(*found)


def test_the_first_file_that_states_a_fact_counts() -> None:
    files = {
        "pyproject.toml": b'[project]\nname = "a"\n',
        "setup.cfg": SETUP_CFG,
        "setup.py": SETUP_PY,
    }
    found = read_metadata(files)
    assert (found.name, found.version, found.license) == ("a", "1.2", "MIT")


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"(((", b"[", b"name = ", b"[metadata]\n[metadata\n"]
)
def test_broken_files_state_nothing(text: bytes) -> None:
    names = ("pyproject.toml", "setup.cfg", "setup.py", "PKG-INFO")
    assert read_metadata(dict.fromkeys(names, text)) == Metadata()


def test_a_version_is_found_in_a_module() -> None:
    assert version_in(b"import x\n__version__ = '0.18.1'\n") == "0.18.1"
    assert version_in(b"__version__ = read()\n") is None

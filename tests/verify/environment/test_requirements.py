"""Requirements files of probe environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.environment.requirements import load_requirements, matching_release

TEXT = """\
# what the probes of an old port need
numpy<2; python_version < "3.13"   # has its own C API
pillow --hash=sha256:00

torchvision  # porter: no-deps
# porter: stub torchvision._meta_registrations
here @ file:///wheels/here-1.0.whl#sha256=00
"""


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "old.txt"
    path.write_text(text)
    return load_requirements(path, frozenset({"torch", "torch-npu"}))


def test_lines_directives_and_comments_are_distinguished(tmp_path: Path) -> None:
    path = tmp_path / "old.txt"
    path.write_text(TEXT)

    found = load_requirements(path)

    assert found.name == "old"
    assert found.lines == (
        'numpy<2; python_version < "3.13"',
        "pillow --hash=sha256:00",
        "here @ file:///wheels/here-1.0.whl#sha256=00",
    )
    assert found.no_deps == ("torchvision",)
    assert found.stubs == ("torchvision._meta_registrations",)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("-r other.txt", "old.txt:2: expected one requirement a line"),
        ("--index-url https://x", "old.txt:2: expected one requirement a line"),
        ("numpy \\", "old.txt:2: expected one requirement a line"),
        ("numpy<<2", "old.txt:2: expected one requirement a line"),
        ("numpy; python_version", "old.txt:2: expected one requirement a line"),
        ("https://x/torch-2.0.whl", "old.txt:2: expected one requirement a line"),
        ("torch>=2 --hash=sha256:00", "old.txt:2: torch comes from the interpreter"),
        ("torch==2.0", "old.txt:2: torch comes from the interpreter that runs porter"),
        ("Torch_NPU", "old.txt:2: Torch_NPU comes from"),
        ("pillow  # porter: nodeps", "old.txt:2: expected `# porter: no-deps`"),
        ("# porter: stub import os", "old.txt:2: expected `# porter: stub MODULE`"),
        ("# porter: frobnicate x", "old.txt:2: expected `# porter: stub MODULE`"),
    ],
)
def test_what_is_not_the_format_is_reported_with_its_line(
    tmp_path: Path, line: str, message: str
) -> None:
    with pytest.raises(BadInput) as error:
        load(tmp_path, f"numpy\n{line}\n")

    assert message in str(error.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a requirements file, found none"):
        load_requirements(tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("requirement", "torch", "expected"),
    [
        ("torchvision", "2.13.0+cpu", "torchvision==0.28.*"),
        ("torchaudio", "2.7.1a0+gitabc", "torchaudio==2.7.*"),
        ("torchvision==0.20.1", "2.13.0", "torchvision==0.20.1"),
        ("torchvision @ file:///w.whl", "2.13.0", "torchvision @ file:///w.whl"),
        ('TorchVision; os_name=="posix"', "2.13", 'TorchVision==0.28.*; os_name == "posix"'),
        ("torchvision", "3.0.0", "torchvision"),
        ("pillow", "2.13.0", "pillow"),
    ],
)
def test_packages_of_torch_get_the_release_that_is_torchs(
    requirement: str, torch: str, expected: str
) -> None:
    assert matching_release(requirement, torch) == expected

"""What porter reads from a series file without a problem, quilt reads the same."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.errors import BadInput
from porter.series.series import load_series, read_series_file
from tests.generated_trees import EXAMPLES
from tests.small_port import SmallPort, changed

PATCHFNS = Path("/usr/share/quilt/scripts/patchfns")
NAMES = ("0001-x.patch", "0002-y.patch")
# quilt's own functions, on many files at once: each patch's name, then its options.
SCRIPT = """
QUILT_DIR=/usr/share/quilt QUILT_PATCHES=patches; QUILT_SERIES=series
eval "$(sed -n '/^cat_series()/,/^}/p;/^patch_args()/,/^}/p' $QUILT_DIR/scripts/patchfns)"
for SERIES in "$@"; do
    echo "= $SERIES"
    cat_series | while IFS= read -r name || [ -n "$name" ]; do
        echo "$name" $(patch_args "$name")
    done
done
"""
needs_quilt = pytest.mark.skipif(not PATCHFNS.is_file(), reason="quilt is not installed")


def by_quilt(texts: list[str]) -> list[list[str]]:
    """Return, for each series file, quilt's lines: a patch's name and its options."""
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / f"{number}" for number in range(len(texts))]
        for file, text in zip(files, texts, strict=True):
            file.write_bytes(text.encode())
        done = subprocess.run(["bash", "-c", SCRIPT, "bash", *files], capture_output=True)
    read: list[list[str]] = []
    for line in done.stdout.decode("utf-8", "replace").split("\n")[:-1]:
        if line.startswith("= "):
            read.append([])
        else:
            read[-1].append(line)
    return read


def by_porter(text: str) -> tuple[list[str], list[str]]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "series"
        path.write_bytes(text.encode())
        lines, problems = read_series_file(path)
    taken = [line.name for line in lines if not line.off]
    return taken, [f"{problem.line}: {problem.text}" for problem in problems]


lines = st.lists(
    st.sampled_from(
        (*NAMES, "#", "# why", "-p1", "-p", "1", "-p0", "-R", " ", "\t", "  ", "\r", "\ufeff",
         "\u00a0", "\x0c", "\x0b", "\u2028", "z", "#z", "# off: ")
    ),
    max_size=5,
).map("".join)  # fmt: skip


@needs_quilt
@settings(max_examples=EXAMPLES, deadline=None)
@given(texts=st.lists(st.lists(lines, max_size=4).map("\n".join), min_size=20, max_size=40))
def test_quilt_reads_what_porter_reads(texts: list[str]) -> None:
    for text, theirs in zip(texts, by_quilt(texts), strict=True):
        ours, problems = by_porter(text)
        if not problems:
            names = [line.partition(" ")[0] for line in theirs]
            options = {line.partition(" ")[2] for line in theirs}
            assert (names, options <= {"-p1", "-p 1", "-p1 -p1"}) == (ours, True), text


@pytest.mark.parametrize(
    "text",
    [
        "\n0001-x.patch  \n\n   \n\t0002-y.patch\n\n",
        "# first\n0001-x.patch -p1 # why\n0002-y.patch -p 1\n#0003\n",
        "0001-x.patch\n0002-y.patch",
    ],
)
def test_all_of_quilts_syntax_for_plain_patches_is_read(text: str) -> None:
    assert by_porter(text) == (list(NAMES), [])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0001-x.patch\r\n0002-y.patch\r\n", "1: expected lines that end in LF, found CR LF"),
        ("\ufeff0001-x.patch\n", "1: expected a file name or `#` first, found a byte order mark"),
        ("\ufeff# x\n", "1: expected a file name or `#` first, found a byte order mark"),
        ("0001-x.patch\n0002-y.patch#z\n", "2: expected a blank before the comment, found '0002"),
        ("0001-x.patch\u00a0\n", "1: expected letters, digits and ._+-~@=, in a file name, found"),
        ("0001-x.patch\x0c\n", "1: expected letters, digits and ._+-~@=, in a file name, found"),
        (" # why\n", "1: expected a comment at the line's beginning, found '#' behind blanks"),
        ("0001-x.patch -R\n", "1: expected a file name alone, found options '-R'; porter applies"),
        ("0001-x.patch -p0\n", "1: expected a file name alone, found options '-p0'; porter strips"),
        ("0001-x.patch -p 2\n", "1: expected a file name alone, found options '-p 2'"),
    ],
)
def test_what_quilt_reads_otherwise_is_a_problem(text: str, problem: str) -> None:
    _, problems = by_porter(text)
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_a_missing_patch_is_named_with_its_line(port: SmallPort) -> None:
    port.add_patch("one", changed("a.py", 5)).rename(port.folder / "other.patch")
    with pytest.raises(BadInput, match=r"/series:2: 0001-one.patch: expected a patch file in"):
        load_series(port.root, port.name)


@pytest.mark.skipif(not shutil.which("quilt"), reason="quilt is not installed")
def test_the_functions_read_here_are_those_of_the_quilt_on_path() -> None:
    assert by_quilt(["0001-x.patch -p0\n# c\n"]) == [["0001-x.patch -p0"]]

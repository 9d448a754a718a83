"""The proposal of wanted files takes code and leaves media, weights and documentation out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from porter.git.objects import Entry, Oid
from porter.upstream.pins import Pin
from porter.upstream.wanted import is_wanted, left_out_text, propose_wanted


def listing(*paths: str) -> dict[bytes, Entry]:
    return {path.encode(): Entry(0o100644, Oid("1" * 40)) for path in paths}


def pin(wanted: tuple[str, ...]) -> Pin:
    return Pin(name="m", tree=Oid("1" * 40), license="MIT", wanted=wanted, sources=())


def test_folders_are_named_whole_where_all_is_wanted() -> None:
    files = listing(
        "a.py", "src/x.py", "src/y/z.py", "docs/a.py", "big.pth", "pic.PNG", "data/w.npz"
    )
    assert propose_wanted(files) == ("a.py", "src/")


def test_a_folder_with_something_unwanted_is_named_in_parts() -> None:
    files = listing("data/a.txt", "data/b.zip", "data/c/d.py", "data/c/e.py")
    assert propose_wanted(files) == ("data/a.txt", "data/c/")


def test_data_of_a_package_belongs_to_its_code() -> None:
    assert not is_wanted("clip/words.txt.gz")
    assert propose_wanted(listing("clip/__init__.py", "clip/words.txt.gz")) == ("clip/",)
    assert propose_wanted(listing("clip/__init__.py", "clip/me.png")) == ("clip/__init__.py",)


def test_a_big_folder_with_few_unwanted_files_stays_whole() -> None:
    many = [f"pkg/m{number}/f.py" for number in range(30)]
    odd = [f"pkg/p{number}.png" for number in range(2)]
    assert propose_wanted(listing(*many, *odd)) == ("pkg/",)


def test_what_is_left_out_is_said_by_folder_and_extension() -> None:
    assert (
        left_out_text(["docs/a/b.md", "docs/c", "x/a.png", "b.PNG", "w"])
        == "*.png (2), docs/ (2), w (1)"
    )


_name = st.sampled_from(["a.py", "b.txt", "c.png", "d.pth", "docs", "src", "e"])
_paths = st.lists(st.lists(_name, min_size=1, max_size=3).map("/".join), min_size=1, max_size=12)


@given(_paths)
def test_the_entries_hold_every_file_that_is_wanted(paths: list[str]) -> None:
    files = {p for p in paths if not any(other.startswith(f"{p}/") for other in paths)}
    made = pin(propose_wanted(listing(*files)))
    if made.wanted:
        assert all(made.wants(path.encode()) for path in files if is_wanted(path))
    else:
        assert not any(map(is_wanted, files))

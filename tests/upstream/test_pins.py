"""Pins are typed and exact; a wrong one is an error of one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from porter.errors import BadInput, CorruptSource
from porter.git.objects import Entry, Oid
from porter.schemas import SCHEMAS, schema_path, schema_text
from porter.upstream.pins import (
    listing_text,
    load_pins,
    parse_listing,
    read_listing,
    tree_objects,
)
from porter.upstream.store import fetch
from tests.conftest import PROJECT
from tests.remotes import (
    Remote,
    git,
    make_project,
    make_remote,
    one_pin,
    pin_of,
    porter,
    record_pin_files,
    write_tree,
)

GOOD: dict[str, Any] = {
    "url": "https://example.org/model",
    "commit": "1" * 40,
    "tree": "2" * 40,
    "license": "MIT",
}


def test_this_project_pins_every_upstream() -> None:
    pins = load_pins(PROJECT)
    assert list(pins.pins) == [
        "v-diffusion",
        "clip",
        "stable-diffusion",
        "diffusers",
        "accelerate",
        "diffusion-from-scratch",
        "ddpm-from-scratch",
    ]
    assert pins.port("v-diffusion").submodules == {"CLIP": "clip"}
    assert pins.beside(pins.port("diffusers")) == (pins.port("accelerate"),)
    assert pins.port("diffusion-from-scratch").license_shown == "none stated"


@pytest.mark.parametrize("name", list(load_pins(PROJECT).pins))
def test_the_listing_of_every_pin_comes_to_its_tree(name: str) -> None:
    listing = read_listing(PROJECT, load_pins(PROJECT).port(name))
    assert listing is not None
    assert len(listing) > 20


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (
            {"commit": "1c0f6bb"},
            ":6: pins.m.commit: expected 40 lower-case hexadecimal digits (SHA",
        ),
        ({"commit": "A" * 40}, ":6: pins.m.commit: expected 40 lower-case hexadecimal digits (SHA"),
        ({"tree": 12}, ":7: pins.m.tree: expected 40 lower-case hexadecimal digits"),
        ({"licence": "MIT"}, ":9: pins.m.licence: expected 'license' (near this name) or another "),
        (
            {"commit": None},
            ":4: pins.m: expected 'url' and 'commit', or 'sdist' (no 'commit' here)",
        ),
        ({"wanted": ["/etc"]}, ": expected a path inside the upstream: relative, without '.' or"),
        ({"wanted": ["a/../b"]}, ": expected a path inside the upstream"),
        ({"submodules": {"x": "other"}}, "pins.m.submodules.x: expected the name of another pin"),
        ({"companions": ["m"]}, "pins.m.companions[0]: expected the name of another pin"),
        (
            {"checkpoints": [{"name": "w", "sha256": "00"}]},
            "checkpoints[0].sha256: expected 64 lower",
        ),
        (
            {"alternates": [{"url": "https://example.org/x"}]},
            "expected either 'sdist', or 'url' and",
        ),
        ({"alternates": [{"url": GOOD["url"], "commit": "1" * 40}]}, "expected each source once"),
        ({"sdist": {"name": "m", "version": "1", "sha256": "0" * 64}}, "or 'sdist', found both"),
    ],
)
def test_a_wrong_pin_is_one_line(tmp_path: Path, change: dict[str, Any], error: str) -> None:
    root = make_project(tmp_path, {"m": GOOD | change})
    with pytest.raises(BadInput) as caught:
        load_pins(root)
    assert error in str(caught.value)
    assert str(caught.value).startswith(f"{root}/upstream_pins.yaml:")
    assert "\n" not in str(caught.value)


def test_all_problems_of_all_pins_are_found(tmp_path: Path) -> None:
    wrong = {
        "a": GOOD | {"commit": "12", "submodules": {"x": "b"}},
        "b": {key: GOOD[key] for key in ("url", "commit", "license")},
        "c": GOOD | {"companions": ["a", "none"], "alternates": [{"url": "https://x.org/y"}]},
        "d": GOOD | {"url": None},
    }
    with pytest.raises(BadInput) as caught:
        load_pins(make_project(tmp_path, wrong))
    assert "pins.a.commit: expected 40" in str(caught.value)
    assert "; and 4 more in this file (`porter --verbose list` lists them)" in str(caught.value)
    keys = [line.split(": ")[1] for line in caught.value.detail.splitlines()]
    assert keys == [
        "pins.a.commit",
        "pins.b",
        "pins.c.alternates[0]",
        "pins.c.companions[1]",
        "pins.d",
    ]


def test_the_command_that_an_error_names_lists_all_problems(tmp_path: Path) -> None:
    root = make_project(tmp_path, {"a": GOOD | {"tree": "1", "license": 7}})
    done = porter(root, "--verbose", "list")
    assert done.returncode == 2
    assert "`porter --verbose list` lists them" in done.stderr.splitlines()[0]
    assert [line.split(":")[2].strip() for line in done.stderr.splitlines()[1:]] == [
        "pins.a.tree",
        "pins.a.license",
    ]


def test_a_missing_tree_is_named_where_the_pins_files_know_it(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "remote")
    root = make_project(tmp_path / "project", {"model": without_tree(remote)})
    with pytest.raises(BadInput, match=rf"`git rev-parse {remote.commit}\^{{tree}}` in a clone"):
        load_pins(root)
    record_pin_files(root, "model", remote)
    with pytest.raises(
        BadInput, match=f"expected the key 'tree', found none; `tree: {remote.tree}`"
    ):
        load_pins(root)


def test_a_missing_tree_is_named_where_the_store_knows_it(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "remote")
    pin = one_pin(tmp_path / "project", remote)
    fetch(tmp_path / "project", pin)
    root = make_project(tmp_path / "project", {"model": without_tree(remote)})
    with pytest.raises(
        BadInput, match=f"expected the key 'tree', found none; `tree: {remote.tree}`"
    ):
        load_pins(root)


def test_a_wrong_tree_is_told_the_right_one(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "remote")
    pin = one_pin(tmp_path / "project", remote, tree="1" * 40)
    with pytest.raises(CorruptSource, match=f"correct upstream_pins.yaml: `tree: {remote.tree}`"):
        fetch(tmp_path / "project", pin)


def without_tree(remote: Remote) -> dict[str, Any]:
    return {key: value for key, value in pin_of(remote).items() if key != "tree"}


@pytest.mark.parametrize(
    "url",
    [
        "--upload-pack=touch /tmp/x",
        "-u",
        "ext::sh -c touch% /tmp/x",
        "ext::https://example.org/x",
        "fd::7",
        "https://-oProxyCommand=x/y",
        "ssh://-oProxyCommand=x/y",
        "ssh://me@-oProxyCommand=x/y",
        "https://me:secret@example.org/x",
        "example.org:model",
        "/local/path",
        "https://example.org/a b",
    ],
)
def test_urls_that_git_would_take_for_something_else_are_refused(tmp_path: Path, url: str) -> None:
    root = make_project(tmp_path, {"m": GOOD | {"url": url}})
    with pytest.raises(BadInput, match="expected a URL of https://"):
        load_pins(root)


def test_a_commit_that_looks_like_an_option_is_refused(tmp_path: Path) -> None:
    root = make_project(tmp_path, {"m": GOOD | {"commit": "--upload-pack=x"}})
    with pytest.raises(BadInput, match="expected 40 lower-case hexadecimal digits"):
        load_pins(root)


def test_a_pin_that_stands_twice_is_refused(tmp_path: Path) -> None:
    entry = json.dumps(GOOD)
    text = f"version: 1\npins:\n  m: {entry}\n  m: {entry}\n"
    (tmp_path / "upstream_pins.yaml").write_text(text)
    with pytest.raises(
        BadInput, match=r":4: pins.m: expected one entry \(the first is on line 3\)"
    ):
        load_pins(tmp_path)


def test_a_typo_in_a_name_suggests_the_near_one() -> None:
    with pytest.raises(BadInput, match="no pin 'diffuser'; did you mean 'diffusers'"):
        load_pins(PROJECT).port("diffuser")


def test_ports_are_the_pins_with_a_series(tmp_path: Path) -> None:
    root = make_project(tmp_path, {"a": GOOD, "b": GOOD})
    (root / "patches/b").mkdir(parents=True)
    (root / "patches/b/series").write_text("")
    assert [pin.name for pin in load_pins(root).ports()] == ["b"]


def test_wanted_paths_are_folders_or_exact_files(tmp_path: Path) -> None:
    pin = load_pins(make_project(tmp_path, {"m": GOOD | {"wanted": ["src/", "a.py"]}})).port("m")
    paths = [b"src/x.py", b"srcs/x.py", b"a.py", b"a.pyc", b"src"]
    assert [pin.wants(path) for path in paths] == [True, False, True, False, False]


def test_a_listing_of_another_tree_is_refused(tmp_path: Path) -> None:
    remote = make_remote(tmp_path / "remote")
    pin = one_pin(tmp_path / "project", remote)
    record_pin_files(tmp_path / "project", "model", remote)
    path = tmp_path / "project/patches/model/upstream.listing"
    path.write_bytes(path.read_bytes().replace(b"LICENSE", b"LICENCE"))
    with pytest.raises(CorruptSource, match=f"expected the listing of tree {pin.tree}, found one"):
        read_listing(tmp_path / "project", pin)


def test_a_line_that_is_no_listing_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"x:2: expected 'MODE TYPE ID<tab>PATH'"):
        parse_listing(b"100644 blob " + b"1" * 40 + b"\ta\nnonsense\n", Path("x"))


def test_listings_are_read_and_written_as_git_does(tmp_path: Path) -> None:
    odd = {'a "b"\n\t\\.txt': b"1", "ä/é.py": b"2", "a-b": b"3", "a/b": b"4", "a.b/c.sh": b"5"}
    remote = make_remote(tmp_path / "remote", odd)
    text = git("--git-dir", remote.path, "ls-tree", "-r", remote.commit)
    entries = parse_listing(text, Path("x"))
    assert {path.decode() for path in entries} == set(odd)
    assert tree_objects(entries)[b""][0] == remote.tree
    assert listing_text(entries) == text


_part = st.binary(min_size=1, max_size=4).filter(
    lambda b: not set(b) & {0, 47} and b not in (b".", b"..")
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_part, min_size=1, max_size=4), max_size=12), st.integers(0, 2**32))
def test_any_listing_survives_being_written_and_read(paths: list[list[bytes]], seed: int) -> None:
    joined = {b"/".join(path) for path in paths}
    files = {p for p in joined if not any(q.startswith(p + b"/") for q in joined)}
    entries = {p: Entry(0o100644, Oid(f"{seed:040x}")) for p in files}
    assert parse_listing(listing_text(entries), Path("x")) == entries


def test_trees_are_those_that_git_writes(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", tmp_path / "r")
    files = {"a/b/c/d": b"", "a/b.c": b"x", "a-/b": b"y", "a0": b"z", "run.sh": b"#!"}
    made = write_tree(tmp_path / "r", files)
    rows = git("--git-dir", tmp_path / "r", "ls-tree", made)
    assert git("--git-dir", tmp_path / "r", "mktree", feed=rows).decode().strip() == made


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_the_schema_files_are_what_the_types_say_today(name: str) -> None:
    assert schema_path(name).read_text() == schema_text(name), "run `porter schema --write`"


def test_the_pins_file_names_its_schema_for_editors() -> None:
    first = (PROJECT / "upstream_pins.yaml").read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (PROJECT / named) == schema_path("pins")

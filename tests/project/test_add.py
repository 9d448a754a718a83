"""`porter add` makes a port that can be checked and verified, or leaves the project as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from porter.project import add
from porter.project.add import add_port
from porter.upstream import propose
from porter.upstream.pins import load_pins, read_commit, read_listing
from tests.project.conftest import GOOD_NAMES, Porter, make_repository
from tests.remotes import make_sdist
from tests.small_project import publish, sealed_git, snapshot
from tests.upstream.test_licence import MIT


def test_a_port_is_pinned_locked_and_fit_for_review(
    root: Path, upstream: str, porter: Porter
) -> None:
    done = porter("add", upstream, cwd=root)
    assert (done.code, done.err) == (0, "")
    pin = load_pins(root).port("my-model")
    listing = read_listing(root, pin)
    assert listing is not None
    assert read_commit(root, pin) is not None
    assert pin.wanted == (
        ".gitmodules", "README.md", "model/", "requirements.txt", "setup.py",
    )  # fmt: skip
    assert (root / "patches/my-model/series").read_bytes() == b""
    assert porter("check", "--strict", cwd=root).code == 0
    assert porter("lint", cwd=root).code == 0
    locked = snapshot(root)
    assert porter("lock", "my-model", cwd=root).code == 0
    assert snapshot(root) == locked


def test_it_says_what_it_found_and_wrote(root: Path, upstream: str, porter: Porter) -> None:
    said = porter("add", upstream, cwd=root).out
    pin = load_pins(root).port("my-model")
    words = " ".join(said.split())
    assert said.startswith(f"added my-model: {upstream} at {str(pin.commit)[:12]} (main)\n")
    assert f"tree {pin.tree}" in words
    assert "licence NONE (no licence file, and none in its metadata)" in words
    assert "wanted 6 of 8 files" in words
    assert "left out *.png (1), docs/ (1)" in words
    assert "submodule LIB: pin lib" in words
    assert "recipe imports model" in words
    assert "next: `porter verify my-model`, then `porter apply my-model`" in words
    for name in snapshot(root).keys() - {".gitignore"}:
        assert name.startswith(".porter/") or f"wrote {name}" in words


def test_a_submodule_gets_a_pin_of_its_own(root: Path, upstream: str, porter: Porter) -> None:
    porter("add", upstream, cwd=root)
    pins = load_pins(root)
    assert pins.port("my-model").submodules == {"LIB": "lib"}
    assert read_listing(root, pins.port("lib")) is not None
    assert [pin.name for pin in pins.ports()] == ["my-model"]
    done = porter("apply", "my-model", cwd=root)
    assert done.code == 0
    assert (root / "trees/my-model/LIB/lib.py").read_text() == "lib = 1\n"


def test_a_submodule_that_is_pinned_already_is_used(
    root: Path, upstream: str, porter: Porter
) -> None:
    porter("add", upstream.replace("my_Model", "lib"), "--name", "the-lib", cwd=root)
    porter("add", upstream, cwd=root)
    assert load_pins(root).port("my-model").submodules == {"LIB": "the-lib"}


def test_a_submodule_out_of_reach_is_a_note(
    root: Path, upstream: str, porter: Porter, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "upstreams" / "lib.git")
    done = porter("add", upstream, cwd=root)
    assert done.code == 0
    assert "note: submodule LIB: not pinned: " in " ".join(done.out.split())
    assert load_pins(root).port("my-model").submodules == {}


def test_a_licence_text_is_recognised_and_its_file_named(
    root: Path, porter: Porter, tmp_path: Path
) -> None:
    make_repository(tmp_path / "m", {"COPYING": MIT.decode(), "a.py": ""})
    porter("add", tmp_path / "m", cwd=root)
    assert "    license: MIT # COPYING\n" in (root / "upstream_pins.yaml").read_text()


def test_a_release_with_the_same_files_becomes_an_alternate(
    root: Path, upstream: str, porter: Porter, tmp_path: Path, index: Path
) -> None:
    held = {"model/net.py": _content(tmp_path, "model/net.py"), "model/more.py": b"more\n"}
    sha256 = make_sdist(index, "my-model", "1.2", held)
    make_sdist(index, "my-model", "2.0", {"model/net.py": b"other\n"})
    done = porter("add", upstream, cwd=root)
    assert "release sdist my-model 1.2 has 1 of 6 wanted files: an alternate" in " ".join(
        done.out.split()
    )
    (alternate,) = load_pins(root).port("my-model").alternates
    assert alternate.sdist is not None
    assert (alternate.sdist.version, alternate.sdist.sha256) == ("1.2", sha256)
    assert "- sdist: # covers 1 of 6 wanted files" in (root / "upstream_pins.yaml").read_text()


def test_a_release_of_other_files_is_a_note(
    root: Path, upstream: str, porter: Porter, index: Path
) -> None:
    make_sdist(index, "my-model", "1.2", {"model/net.py": b"other\n"})
    said = " ".join(porter("add", upstream, cwd=root).out.split())
    assert "note: release: sdist my-model 1.2 holds 0 of 6 wanted files: not used" in said
    assert load_pins(root).port("my-model").alternates == ()


def _content(tmp_path: Path, path: str) -> bytes:
    return (tmp_path / "upstreams" / "my_Model" / path).read_bytes()


def test_a_package_pins_its_newest_release(root: Path, porter: Porter, index: Path) -> None:
    make_sdist(index, "my-m", "1.0", {"m/__init__.py": b"x = 1\n"})
    sha256 = make_sdist(index, "my-m", "1.1", {"m/__init__.py": b"x = 1\n", "LICENSE": MIT})
    assert porter("add", "my-m", cwd=root).code == 0
    pin = load_pins(root).port("my-m")
    assert pin.sdist is not None
    assert (pin.sdist.version, pin.sdist.sha256, pin.license) == ("1.1", sha256, "MIT")
    assert porter("check", "--strict", cwd=root).code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("{upstream}",), 2, "upstream_pins.yaml: 'my-model' is pinned already; --name chooses"),
        (("{upstream}", "--name", "Big"), 2, "'Big': expected a name of a-z, 0-9"),
        (("{upstream}", "--name", "n", "--commit", "no"), 2, "no branch, tag or commit 'no'"),
        (("file:///gone/x",), 1, "not reachable: there is no git repository at"),
        (("no-such-package",), 2, "pip's index has no no-such-package source release"),
        (("no-such==1.0",), 2, "pip's index has no no-such 1.0"),
        (("x==1", "--commit", "main"), 2, "--commit main: a release has none; write x==VERSION"),
        (("{upstream}", "--name", "taken"), 2, "patches/taken: exists, and 'taken' is not pinned"),
        (("{upstream}", "--name", "env"), 2, "environments/env.txt: exists, and 'env' is not"),
    ],
)
def test_what_cannot_be_added_is_one_line_and_changes_nothing(
    root: Path, upstream: str, porter: Porter, arguments: tuple[str, ...], code: int, error: str
) -> None:
    porter("add", upstream, cwd=root)
    (root / "patches/taken").mkdir()
    (root / "recipes/environments/env.txt").write_text("mine\n")
    before = snapshot(root)
    done = porter("add", *(each.format(upstream=upstream) for each in arguments), cwd=root)
    assert done.code == code
    assert error in done.err
    assert (done.out, done.err.count("\n")) == ("", 1)
    assert snapshot(root) == before


def test_offline_nothing_is_asked(
    root: Path, upstream: str, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORTER_OFFLINE", "1")
    monkeypatch.setattr(propose, "look_up_release", None)
    for each in (upstream, "einops"):
        done = porter("add", each, cwd=root)
        assert (done.code, done.err) == (1, f"porter: {each}: not reachable: porter is offline\n")


def test_outside_a_project_the_command_that_makes_one_is_named(
    tmp_path: Path, porter: Porter
) -> None:
    done = porter("add", "https://h.org/o/n", cwd=tmp_path)
    assert done.code == 2
    assert done.err.endswith(
        "no upstream_pins.yaml here or in a folder above; go to a porter project, pass --root DIR,"
        " or make one with `porter init`\n"
    )


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("lock_port", KeyboardInterrupt()),
        ("write_atomic", OSError(28, "No space left on device")),
        ("with_entries", KeyboardInterrupt()),
        ("change_files", OSError(28, "No space left on device")),
    ],
)
def test_a_failure_at_any_step_leaves_the_project_as_it_was(
    root: Path, upstream: str, porter: Porter, monkeypatch: pytest.MonkeyPatch, place: str,
    error: BaseException,
) -> None:  # fmt: skip
    before = _everything(root)
    for call in range(1, 30):
        with monkeypatch.context() as patched:
            patched.setattr(add, place, _failing(getattr(add, place), call, error))
            done = porter("add", upstream, cwd=root)
        if done.code == 0:
            break
        assert _everything(root) == before
    else:
        pytest.fail("never reached the end")
    assert call > 1


def _failing(real: Callable[..., Any], at: int, error: BaseException) -> Callable[..., Any]:
    calls = 0

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise error
        return real(*args, **kwargs)

    return run


def _everything(root: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(root.rglob("*"))}


def test_a_pins_file_that_changes_meanwhile_is_not_overwritten(
    root: Path, upstream: str, porter: Porter, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = root / "upstream_pins.yaml"
    real = add.lock_port

    def change(*args: Any) -> str:
        path.write_text(path.read_text() + "# mine\n")
        return real(*args)

    monkeypatch.setattr(add, "lock_port", change)
    done = porter("add", upstream, cwd=root)
    assert done.err.endswith("changed while the upstream was fetched; run the command again\n")
    assert path.read_text().endswith("pins: {}\n# mine\n")
    assert not (root / "patches/my-model").exists()


def test_the_index_is_not_asked_for_a_folder_of_this_machine(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_repository(tmp_path / "secret", {"a.py": "def f(): ...\n"})
    asked: list[str] = []
    monkeypatch.setattr(propose, "look_up_release", lambda name, *_: asked.append(name))
    added = add_port(root, str(tmp_path / "secret"))
    assert asked == []
    assert added.port.notes[0].startswith("only this machine has file://")


@pytest.mark.skipif(find_spec("torch") is None, reason="probes need torch")
def test_the_first_recipe_passes_on_the_new_port(
    root: Path, porter: Porter, tmp_path: Path
) -> None:
    make_repository(
        tmp_path / "m",
        {
            "model/__init__.py": "import json\n\nfrom .net import Net, width\n",
            "model/net.py": "import torch\n\nNet = torch.nn.Linear\nwidth = 64\n",
        },
    )
    assert porter("add", tmp_path / "m", cwd=root).code == 0
    done = porter("verify", "m", cwd=root)
    assert done.code == 0, done.out
    assert "names/model" in done.out
    assert f"{len(GOOD_NAMES)}" in next(line for line in done.out.splitlines() if "≥" in line)


def test_an_upstream_without_python_gets_no_recipe(
    root: Path, porter: Porter, tmp_path: Path
) -> None:
    make_repository(tmp_path / "m", {"a.txt": "x\n"})
    done = porter("add", tmp_path / "m", cwd=root)
    assert done.code == 0
    assert "next: write a recipe" in done.out
    assert not (root / "recipes" / "m").exists()
    assert porter("check", cwd=root).code == 0


def test_an_older_commit_by_a_tag(root: Path, porter: Porter, tmp_path: Path) -> None:
    first = make_repository(tmp_path / "up" / "m", {"a.py": "def f(): ...\n"})
    sealed_git(tmp_path / "up" / "m", "tag", "v1")
    (tmp_path / "up" / "m" / "b.py").write_text("")
    sealed_git(tmp_path / "up" / "m", "add", ".")
    sealed_git(tmp_path / "up" / "m", "commit", "--quiet", "-m", "more")
    publish(tmp_path / "up", "m", tmp_path / "up" / "m")
    porter("add", f"file://{tmp_path}/up/m.git", "--commit", "v1", cwd=root)
    assert load_pins(root).port("m").commit == first
    assert f"    commit: {first} # v1\n" in (root / "upstream_pins.yaml").read_text()

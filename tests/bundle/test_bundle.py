"""A bundle has everything: with git and pip cut off, a port is checked, applied and verified."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from porter.bundle.archive import MANIFEST, unpack_bundle
from porter.cli import main
from porter.errors import BadInput, CorruptSource
from porter.places import cache_dir
from porter.upstream.store import repository
from tests.remotes import make_project, make_sdist
from tests.small_port import SmallPort, changed
from tests.verify.environment.wheels import wheel
from tests.verify.folder_trees import PARITY

PROBE = """
    import thing
    def run(probe):
        probe.record("y", probe.normal("x", 50) * thing.TWO)
    """


@pytest.fixture
def port(port: SmallPort) -> SmallPort:
    port.add_patch("first", changed("a.py", 3))
    assert main(["lock", "small"]) == 0
    return port


@pytest.fixture
def bundle(port: SmallPort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A bundle of the port, without environments."""
    path = tmp_path / "one.bundle"
    assert main(["bundle", "-o", str(path)]) == 0
    capsys.readouterr()
    return path


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Move to a machine that reaches nothing: a new cache, no upstream, no project, no index."""

    def go(upstream: Path) -> Path:
        upstream.rename(upstream.with_name("gone"))
        monkeypatch.setenv("PORTER_CACHE", str(tmp_path / "other" / "cache"))
        monkeypatch.delenv("PORTER_ROOT")
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        home = tmp_path / "other" / "home"
        home.mkdir(parents=True)
        monkeypatch.chdir(home)
        return home

    return go


def test_check_and_apply_need_nothing_but_the_bundle(
    port: SmallPort,
    bundle: Path,
    elsewhere: Callable[[Path], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    here = elsewhere(port.upstream)

    assert main(["fetch", "--from", str(bundle), "--project", "ports"]) == 0
    assert "small: 3 of 3 wanted files in the bundle" in capsys.readouterr().out
    root = str(here / "ports")
    assert main(["check", "--strict", "--root", root]) == 0
    assert main(["apply", "small", "tree", "--root", root]) == 0

    assert (here / "tree" / "a.py").read_text() == changed("a.py", 3)["a.py"]
    assert (here / "ports/patches/small/0001-first.patch").is_file()


@pytest.mark.slow
def test_recipes_run_in_environments_of_the_bundles_wheels(
    port: SmallPort,
    tmp_path: Path,
    elsewhere: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wheel(tmp_path / "index", "thing", "1.5", "import part\nTWO = 2 * part.ONE\n", "part")
    wheel(tmp_path / "index", "part", "0.1", "ONE = 1\n")
    wheel(tmp_path / "index", "part", "0.2", "ONE = 1\n")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    environments = port.root / "recipes" / "environments"
    environments.mkdir(parents=True)
    (environments / "things.txt").write_text("thing\npart<0.2\n")
    recipe = f"environment: ../environments/things.txt\n{PARITY}"
    port.add_recipe("one", recipe, PROBE)
    path = tmp_path / "one.bundle"
    assert main(["bundle", "small", "-o", str(path), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["environments"]["recipes/environments/things.txt"] == ["part==0.1", "thing==1.5"]
    shutil.rmtree(tmp_path / "index")
    elsewhere(port.upstream)
    assert main(["fetch", "--from", str(path), "--project", "ports"]) == 0
    capsys.readouterr()

    code = main(["verify", "small", "--root", "ports", "--json"])

    found = json.loads(capsys.readouterr().out)
    assert code == 0, found
    assert {v["verdict"] for r in found["recipes"] for v in r["verdicts"]} <= {"pass", "baseline"}


def test_a_release_comes_as_its_archive(
    tmp_path: Path,
    elsewhere: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = tmp_path / "index"
    sha256 = make_sdist(index, "model", "1.0", {"model/net.py": b"x = 1\n"})
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    sdist = {"name": "model", "version": "1.0", "sha256": sha256}
    root = make_project(tmp_path / "p", {"model": pin_by_release(sdist)})
    tree = correct_tree(root, capsys)
    make_project(root, {"model": pin_by_release(sdist) | {"tree": tree}})
    (root / "patches/model").mkdir(parents=True)
    (root / "patches/model/series").write_text("")
    monkeypatch.setenv("PORTER_ROOT", str(root))
    path = tmp_path / "one.bundle"
    assert main(["bundle", "model", "-o", str(path)]) == 0
    elsewhere(index)

    assert main(["fetch", "--from", str(path), "--project", "ports"]) == 0
    assert main(["apply", "model", "tree", "--root", "ports"]) == 0

    assert Path("tree/model/net.py").read_text() == "x = 1\n"


def pin_by_release(sdist: dict[str, str]) -> dict[str, object]:
    return {"sdist": sdist, "tree": "0" * 40, "license": "MIT"}


def correct_tree(root: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the tree that porter names when the pin's is wrong."""
    assert main(["fetch", "--root", str(root)]) == 1
    return capsys.readouterr().err.rpartition("`tree: ")[2][:40]


def test_in_a_project_its_own_files_stay(
    port: SmallPort, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (port.folder / "series").write_text("# mine\n")
    shutil.rmtree(cache_dir())

    assert main(["fetch", "--from", str(bundle)]) == 0

    assert "left so: patches/small/series" in capsys.readouterr().out
    assert (port.folder / "series").read_text() == "# mine\n"


def test_objects_of_another_commit_are_not_taken(
    port: SmallPort, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port.move_pin({"d/b.py": "new\n"})
    shutil.rmtree(cache_dir())

    assert main(["fetch", "--from", str(bundle)]) == 1

    assert "not taken: small: the pin is commit" in capsys.readouterr().out
    assert not repository("small").exists()


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(m, tar.extractfile(m).read()) for m in tar]  # type: ignore[union-attr]


def rewritten(path: Path, rows: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for member, content in rows:
            member.size = len(content) if member.isreg() else 0
            tar.addfile(member, io.BytesIO(content))
    return path


def with_member(path: Path, name: str, kind: bytes = tarfile.REGTYPE) -> Path:
    """Add a member that the manifest names, with its right hash."""
    rows = members(path)
    manifest = json.loads(rows[0][1])
    manifest["files"][name] = hashlib.sha256(b"evil").hexdigest()
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/passwd"
    rows[0] = rows[0][0], json.dumps(manifest).encode()
    return rewritten(path, [*rows, (member, b"evil")])


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/tmp/evil",
        "project/../../evil",
        "project/a/../../../evil",
        "project/.git/hooks/post-checkout",
        "project/patches//evil",
        "wheels/../evil.whl",
        "wheels/evil.py",
        "objects/x.idx",
        "evil",
    ],
)
def test_a_member_that_leads_elsewhere_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "deep" / "target"

    with pytest.raises(CorruptSource, match="expected plain files"):
        unpack_bundle(with_member(bundle, name), target)

    assert not [path for path in tmp_path.rglob("evil*") if path.is_file()]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file_is_refused(
    bundle: Path, tmp_path: Path, kind: bytes
) -> None:
    with pytest.raises(CorruptSource, match="expected plain files"):
        unpack_bundle(with_member(bundle, "project/x", kind), tmp_path / "target")


def test_any_changed_member_is_noticed_and_nothing_is_taken(
    port: SmallPort, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = members(bundle)
    shutil.rmtree(cache_dir())
    for at in range(1, len(whole)):
        rows = list(whole)
        member, content = rows[at]
        rows[at] = member, content[:-1] + b"\x7f"
        rewritten(bundle, rows)

        assert main(["fetch", "--from", str(bundle)]) == 1

        assert f"{member.name}: expected the hash" in capsys.readouterr().err
    assert not repository("small").exists()


@pytest.mark.parametrize("size", [0, 100, 5000, -600])
def test_a_bundle_cut_short_is_refused(port: SmallPort, bundle: Path, size: int) -> None:
    data = bundle.read_bytes()
    bundle.write_bytes(data[:size] if size >= 0 else data[: len(data.rstrip(b"\0")) + size])

    with pytest.raises((CorruptSource, BadInput)):
        unpack_bundle(bundle, port.root / "target")


def test_a_pack_with_a_flipped_byte_is_refused_by_its_objects(
    port: SmallPort, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The manifest may be wrong too: ids decide."""
    rows = members(bundle)
    manifest = json.loads(rows[0][1])
    at = next(n for n, (m, _) in enumerate(rows) if m.name.endswith(".pack"))
    data = bytearray(rows[at][1])
    data[len(data) // 2] ^= 1
    rows[at] = rows[at][0], bytes(data)
    manifest["files"]["objects/small.pack"] = hashlib.sha256(data).hexdigest()
    rows[0] = rows[0][0], json.dumps(manifest).encode()
    rewritten(bundle, rows)
    shutil.rmtree(cache_dir())

    assert main(["fetch", "--from", str(bundle)]) == 1

    assert "not taken: " in capsys.readouterr().out


def test_the_same_state_makes_the_same_bytes(port: SmallPort, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.bundle"

    assert main(["bundle", "-o", str(again)]) == 0

    assert again.read_bytes() == bundle.read_bytes()
    assert members(again)[0][0].name == MANIFEST


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--project", "x"], "expected --from FILE beside it"),
        (["--from", "nothing"], "expected a file that `porter bundle` wrote, found none"),
        (["--from", "x", "--offline"], "leave out PORT"),
        (["--from", "upstream_pins.yaml"], "expected a bundle"),
    ],
)
def test_wrong_use_is_one_line(
    port: SmallPort,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    found: str,
) -> None:
    monkeypatch.chdir(port.root)

    assert main(["fetch", *words]) in (1, 2)

    (line,) = capsys.readouterr().err.splitlines()
    assert found in line


def test_a_project_is_not_written_over_another(bundle: Path, port: SmallPort) -> None:
    assert main(["fetch", "--from", str(bundle), "--project", str(port.root)]) == 2

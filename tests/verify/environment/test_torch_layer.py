"""What an environment sees of the running interpreter: torch's closure and a device plugin."""

from __future__ import annotations

from importlib.metadata import Distribution
from pathlib import Path

import pytest

from porter.errors import BadInput
from porter.verify.environment import torch_layer as layers
from porter.verify.environment.torch_layer import Layer, find_layer, write_layer


def install(folder: Path, name: str, *requires: str) -> None:
    """Put a distribution of one package into a folder, as an installer does."""
    package = folder / name.replace("-", "_")
    info = folder / f"{package.name}-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text("")
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}")
    (info / "entry_points.txt").write_text("[torch.backends]\nnpu = torch_npu:_autoload\n")
    files = (f"{package.name}/__init__.py", f"{info.name}/METADATA", "../../bin/x")
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))


def test_an_installed_plugin_comes_with_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "torch-npu", "driver-thing>=1", "absent; extra == 'all'")
    install(tmp_path / "site", "driver-thing")
    install(tmp_path / "site", "users-own")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    layer = find_layer()
    (folder,) = write_layer(layer, tmp_path / "layer")

    names = {entry.name for entry in folder.iterdir()}
    assert {"torch", "safetensors", "torch_npu", "driver_thing"} <= names
    assert not {"users_own", "pytest", "rich", "..", "bin"} & names
    assert layer.pinned["torch-npu"] == "1.0"


def test_a_requirement_counts_only_where_its_marker_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires = ('here; python_version >= "3"', 'elsewhere; sys_platform == "nowhere"')
    install(tmp_path / "site", "torch-npu", *requires)
    install(tmp_path / "site", "here")
    install(tmp_path / "site", "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    (folder,) = write_layer(find_layer(), tmp_path / "layer")

    names = {entry.name for entry in folder.iterdir()}
    assert "here" in names
    assert "elsewhere" not in names


def test_an_extra_that_a_requirement_names_comes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "torch-npu", "toolkit", "toolkit[blas]>=1", "kept[self]")
    install(tmp_path / "site", "toolkit", 'blas; extra == "blas"', 'fft; extra == "fft"')
    install(tmp_path / "site", "kept", 'kept[more]; extra == "self"', 'deep; extra == "more"')
    for name in ("blas", "fft", "deep"):
        install(tmp_path / "site", name)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    (folder,) = write_layer(find_layer(), tmp_path / "layer")

    names = {entry.name for entry in folder.iterdir()}
    assert {"toolkit", "blas", "kept", "deep"} <= names
    assert "fft" not in names


def test_metadata_is_copied_without_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "torch-npu")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    (folder,) = write_layer(find_layer(), tmp_path / "layer")

    info = folder / "torch_npu-1.0.dist-info"
    assert sorted(file.name for file in info.iterdir()) == [
        "INSTALLER",
        "METADATA",
        "entry_points.txt",
    ]
    assert (folder / "torch_npu").is_symlink()
    assert not list(folder.glob("*.dist-info/RECORD"))


def test_an_editable_install_exposes_its_whole_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path / "site", "torch-npu")
    (tmp_path / "site" / "torch_npu-1.0.dist-info" / "RECORD").write_text("__editable__.x.pth,,\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    layer = find_layer()

    assert layer.why_whole.startswith("torch-npu is an editable install")
    assert tmp_path / "site" in layer.whole
    assert write_layer(layer, tmp_path / "layer") == layer.whole


def test_an_interpreter_without_torch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "ROOTS", ("no-such-distribution",))

    with pytest.raises(BadInput, match="no-such-distribution is not installed here"):
        find_layer()


def distribution_in(folder: Path, module: str) -> Distribution:
    """A distribution with its files below ``folder``, as pip records them there."""
    info = folder / "torch-2.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.9\n")
    (info / "RECORD").write_text(
        f"torch/__init__.py,sha256={module},9\n../../bin/torchrun,sha256={folder.name},9\n"
        f"torch-2.9.dist-info/INSTALLER,sha256={folder.name},4\ntorch/__pycache__/x.pyc,,\n"
    )
    return Distribution.at(info)


def test_content_is_the_same_wherever_it_is_installed(tmp_path: Path) -> None:
    one, two = (Layer((distribution_in(tmp_path / name, "a"),), (), "") for name in ("x", "y"))
    other = Layer((distribution_in(tmp_path / "z", "b"),), (), "")

    assert one.content == two.content != other.content
    assert one.identity() != two.identity()


def test_a_distribution_that_states_no_hashes_counts_by_its_location(tmp_path: Path) -> None:
    rows = []
    for name in ("x", "y"):
        distribution = distribution_in(tmp_path / name, "a")
        (tmp_path / name / "torch-2.9.dist-info" / "RECORD").unlink()
        rows.append(Layer((distribution,), (), "").content)

    assert rows[0] != rows[1]

"""Simulated vendor packages: how they are imported, and the errors for what they lack."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys

import pytest

pytest.importorskip("torch")

from porter.device.sim.vendors import stub_module
from porter.errors import PorterError

PACKAGE = stub_module.Package(
    root="habana_frameworks",
    home="porter.device.sim.habana",
    contents={
        "habana_frameworks": (),
        "habana_frameworks.torch": (),
        "habana_frameworks.torch.hpex": (),
        "habana_frameworks.torch.hpex.kernels": ("kernels",),
    },
)


@pytest.fixture
def package():
    stub_module.install(PACKAGE)
    stub_module.missing.clear()
    yield
    stub_module.uninstall("habana_frameworks")


def test_an_installed_package_imports_in_every_form(package):
    import habana_frameworks.torch as ht
    from habana_frameworks.torch.hpex.kernels import FusedSDPA

    assert ht.hpex.kernels.FusedSDPA is FusedSDPA
    assert "simulated" in repr(ht)


def test_the_error_for_a_missing_name_says_whether_the_vendor_has_it(package):
    import habana_frameworks.torch.hpex.kernels as kernels

    with pytest.raises(AttributeError, match=r"hpex\.kernels\.EmbeddingBag.*simulated module"):
        kernels.EmbeddingBag  # noqa: B018
    assert not hasattr(kernels, "EmbeddingBag")
    assert stub_module.missing["habana_frameworks.torch.hpex.kernels.EmbeddingBag"] == 2


def test_a_missing_name_in_an_import_is_an_import_error_naming_it(package):
    with pytest.raises(ImportError, match=r"torch\.hpex\.kernels\.Missing is not in porter"):
        from habana_frameworks.torch.hpex.kernels import Missing  # noqa: F401


def test_a_missing_module_is_an_import_error_that_knows_the_published_clients(package):
    name = "habana_frameworks.torch.hpex.experimental.transformer_engine"
    with pytest.raises(PorterError, match="experimental is not in porter") as found:
        importlib.import_module(name)
    assert isinstance(found.value, ImportError)
    assert "gaudi-pytorch-bridge 1.19.0 knows it" in stub_module.not_simulated(name)
    assert "optimum-habana" in stub_module.not_simulated(f"{name}.fp8_autocast")


def test_finding_the_spec_of_a_missing_module_raises_nothing(package):
    assert importlib.util.find_spec("habana_frameworks.torch.hpex") is not None
    assert importlib.util.find_spec("habana_frameworks.torch.nothing") is None


def test_dunder_look_ups_are_plain(package):
    import habana_frameworks.torch as ht

    assert not hasattr(ht, "__wrapped__")
    assert not stub_module.missing
    with pytest.raises(TypeError):
        pickle.dumps(ht)


def test_a_real_package_is_not_replaced(monkeypatch):
    monkeypatch.setitem(sys.modules, "habana_frameworks", type(sys)("habana_frameworks"))
    with pytest.raises(PorterError, match="already imported"):
        stub_module.install(PACKAGE)

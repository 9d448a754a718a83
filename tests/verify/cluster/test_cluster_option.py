"""What `--cluster` says where there is no Ray, and no cluster."""

from __future__ import annotations

import sys

import pytest

from porter.errors import BadInput
from porter.verify.cluster.driver import open_cluster
from porter.verify.environment.variables import adopt, inherited
from porter.verify.execution.session import Options


def test_without_ray_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with (
        pytest.raises(BadInput, match=r"--cluster auto: .*pip install 'porter\[ray\]'"),
        open_cluster("auto", Options(), print),
    ):
        pass


def test_a_run_gets_the_variables_of_the_machine_that_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in inherited():
        monkeypatch.delenv(name)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")

    adopt({"ATEN_CPU_CAPABILITY": "default", "PT_A": "1"}, keep_cards=True)
    assert inherited() == {
        "ATEN_CPU_CAPABILITY": "default", "CUDA_VISIBLE_DEVICES": "3", "PT_A": "1",
    }  # fmt: skip

    adopt({"CUDA_VISIBLE_DEVICES": "0"}, keep_cards=False)
    assert inherited() == {"CUDA_VISIBLE_DEVICES": "0"}

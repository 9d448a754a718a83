"""A run gets porter's variables and a few of the user's, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from porter.verify.environment.variables import inherited, shared_variables

SECRETS = (
    *("GITHUB_TOKEN", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "SSH_AUTH_SOCK"),
    *("http_proxy", "HTTPS_PROXY", "PIP_INDEX_URL", "PYTHONPATH", "PYTHONSTARTUP", "GIT_ASKPASS"),
    *("NPU_TOKEN", "TORCH_API_KEY", "CUDA_PASSWORD", "KUBECONFIG", "DBUS_SESSION_BUS_ADDRESS"),
    *("WANDB_API_KEY", "PORTER_ROOT", "TORCH_HOME", "MASTER_ADDR", "RANK", "OMP_PROC_BIND"),
)
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "CUDA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES")


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_not_on_the_list_stays_out(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3cret")

    assert "s3cret" not in shared_variables(1, {}).values()


@pytest.mark.parametrize("name", PASSED)
def test_what_a_run_needs_is_passed_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "here")

    assert shared_variables(1, {})[name] == "here"


@given(name=st.from_regex(r"[A-Z_]{1,12}\Z"), word=st.sampled_from(["TOKEN", "SECRET", "PASSWORD"]))
def test_no_name_that_says_secret_is_passed(name: str, word: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"TORCH_{name}{word}", "s3cret")
        patch.setenv(f"{word}{name}", "s3cret")

        assert "s3cret" not in shared_variables(1, {}).values()


def test_a_recipes_own_variables_override_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/usr/bin")

    own = shared_variables(2, {"PATH": "/opt", "HF_TOKEN": "given"})

    assert (own["PATH"], own["HF_TOKEN"], own["OMP_NUM_THREADS"]) == ("/opt", "given", "2")


def test_what_is_in_the_keys_is_what_reaches_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_LOGS", "TORCH_HOME", "LD_PRELOAD", "CUDA_API_KEY", "LANG"):
        monkeypatch.setenv(name, "x")

    found = inherited()

    assert {"TORCH_LOGS", "LD_PRELOAD"} <= found.keys() <= shared_variables(1, {}).keys()
    assert not {"TORCH_HOME", "CUDA_API_KEY", "LANG"} & found.keys()

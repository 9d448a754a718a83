"""The reusable workflow gives the jobs of its matrix one cache, which forks may only read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parent.parent


def workflow(name: str = "port") -> dict[Any, Any]:
    text = (PROJECT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    loaded: dict[Any, Any] = yaml.safe_load(text)
    return loaded


def test_every_verification_of_the_matrix_uses_the_shared_cache() -> None:
    steps = workflow()["jobs"]["verify"]["steps"]
    (verify,) = (step for step in steps if step.get("name") == "porter verify")

    assert verify["env"]["PORTER_REMOTE_CACHE"] == "${{ inputs.remote-cache }}"
    mode = verify["env"]["PORTER_REMOTE_CACHE_MODE"]
    assert mode == (
        "${{ github.event.pull_request.head.repo.fork == true && 'read' || 'read-write' }}"
    )


def test_secrets_of_the_shared_cache_are_in_no_other_step() -> None:
    holders = [
        step["name"]
        for job in workflow()["jobs"].values()
        for step in job["steps"]
        if "secrets." in str(step)
    ]

    assert holders == ["porter verify"]


def test_docs_name_every_input_and_secret_of_the_workflow() -> None:
    page = (PROJECT / "docs" / "ci.md").read_text(encoding="utf-8")
    call = workflow()[True]["workflow_call"]  # YAML 1.1 reads the key `on` as true

    assert len(call["inputs"]) > 5
    assert [name for name in (*call["inputs"], *call["secrets"]) if f"`{name}`" not in page] == []


def test_quick_recipes_run_nightly_on_the_oldest_torch_that_is_allowed_and_on_the_newest() -> None:
    project = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'^    "torch>=([0-9.]+)",', project, re.MULTILINE)
    job = workflow("nightly")["jobs"]["torch"]

    assert job["strategy"]["matrix"]["torch"] == [f"torch=={oldest}.*", "torch"]
    assert [s["run"] for s in job["steps"] if "--tag quick" in s.get("run", "")]

"""Make the job matrix of a CI system from the recipes: port x level x device.

It reads recipes and series alone, so the job that makes the matrix needs no torch, no store and no
network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from porter.errors import BadInput
from porter.verify.plan.matrix import judged_specs
from porter.verify.plan.select import Filters, RecipePlan, make_plan
from porter.verify.plan.trees import SeriesTrees
from porter.verify.recipe.schema import is_simulated

MOST_JOBS = 256
"""GitHub's limit for one matrix."""

HOSTED = "ubuntu-latest"


@dataclass(frozen=True)
class CiJob:
    """One job: the recipes of a port that run at a level on a device."""

    port: str
    level: int
    level_name: str
    device: str
    recipes: tuple[str, ...]


def jobs(
    root: Path, ports: Sequence[str], tags: Sequence[str], devices: Sequence[str]
) -> list[CiJob]:
    """Return the jobs of ``ports`` (none: every port with recipes), ports and levels in order.

    ``tags`` and ``devices`` are patterns, one of which must match (empty: everything). Level 0 has
    jobs where a recipe judges it. Raises BadInput for a name or pattern that matches nothing.
    """
    plan = make_plan(root, ports, SeriesTrees(root), Filters(tags=tuple(tags)))
    for one in plan.unreachable:
        raise BadInput(f"{one.port}: {one.reason}")
    found: dict[tuple[str, int, str], list[RecipePlan]] = {}
    for planned in plan.recipes:
        runs = {(spec.level, spec.device) for spec in judged_specs(planned)}
        for level, device in runs:
            found.setdefault((planned.loaded.port, level, device), []).append(planned)
    for pattern in devices:
        if not any(fnmatchcase(device, pattern) for _, _, device in found):
            there = ", ".join(sorted({device for _, _, device in found}))
            raise BadInput(f"--device {pattern}: matches nothing; there are {there}")
    return [
        CiJob(
            port=port,
            level=number,
            level_name=recipes[0].levels[number].name,
            device=device,
            recipes=tuple(one.loaded.name for one in recipes),
        )
        for (port, number, device), recipes in sorted(found.items())
        if not devices or any(fnmatchcase(device, pattern) for pattern in devices)
    ]


def as_matrix(found: Sequence[CiJob], runners: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return the matrix in the ``include`` form of GitHub and Forgejo, of strings and numbers.

    ``runners`` are labels by device. Default: GitHub's hosted machine for ``cpu`` and simulated
    devices, ``self-hosted`` and the device's name for real ones.
    """

    def entry(job: CiJob) -> dict[str, Any]:
        simulated = is_simulated(job.device)
        own = [HOSTED] if simulated or job.device == "cpu" else ["self-hosted", job.device]
        device = f"{job.device}, simulated" if simulated else job.device
        return {
            "name": f"{job.port} {job.level} {job.level_name} ({device})",
            "port": job.port,
            "level": job.level,
            "level_name": job.level_name,
            "device": job.device,
            "simulated": simulated,
            "recipes": " ".join(job.recipes),
            "runs_on": list(runners.get(job.device, own)),
        }

    return {"include": [entry(job) for job in found]}


def github_output(found: Sequence[CiJob], runners: Mapping[str, Sequence[str]]) -> str:
    """Return the line for ``$GITHUB_OUTPUT``. Raises BadInput if the matrix is too large."""
    if len(found) > MOST_JOBS:
        raise BadInput(
            f"{len(found)} jobs, but GitHub allows at most {MOST_JOBS} in a matrix; "
            "name ports, or choose with --tag or --device"
        )
    return f"matrix={json.dumps(as_matrix(found, runners), separators=(',', ':'))}"


def table_rows(found: Sequence[CiJob]) -> Iterator[tuple[str, ...]]:
    """Yield the rows of a table of jobs: port, level, device, recipes."""
    for job in found:
        level = f"{job.level} {job.level_name}"
        yield job.port, level, job.device, " ".join(job.recipes)

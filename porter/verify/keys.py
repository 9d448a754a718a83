"""Keys of what is kept: a run's trace, a recipe's verdicts.

A key is the hash of everything the thing depends on, and of nothing else: names, titles and claims
are no part of a trace's. None of this needs torch.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from porter.verify import runner
from porter.verify.environment import Environment
from porter.verify.facts import RunFacts
from porter.verify.planned import Planned
from porter.verify.points import Point
from porter.verify.probe_files import probe_files
from porter.verify.recipe import LoadedRecipe
from porter.verify.sealed import inherited
from porter.verify.selection import is_simulated
from porter.verify.shaken import VARIABLES

_NAMES = {"port", "recipe", "recipe_sha256", "level", "level_name"}
_HERE = Path(__file__).parent
_SIMULATOR = (_HERE.parent / "device", _HERE.parent / "migrate")


@dataclass(frozen=True)
class Known:
    """A run as it is known beforehand: its facts and its trace's key."""

    facts: RunFacts
    key: str


def known_runs(
    planned: Planned, points: Iterable[Point], environment: Environment
) -> dict[Point, Known]:
    """Return what is known of some runs of a recipe beforehand."""
    loaded = planned.loaded
    inputs, probe = loaded.inputs_sha256(), probe_hash(loaded)
    surroundings = {"machine": machine(), "inherited": inherited(), "needs": loaded.recipe.needs}
    known = {}
    for point in points:
        level = planned.levels[point.level]
        facts = RunFacts(
            port=loaded.port,
            recipe=loaded.name,
            recipe_sha256=loaded.sha256,
            inputs_sha256=inputs,
            probe_sha256=probe,
            level=level.number,
            level_name=level.name,
            tree=level.tree,
            companions={name: other.tree for name, other in planned.companions},
            dtype=point.dtype,
            device=point.device,
            seed=point.seed,
            threads=loaded.recipe.threads,
            environment=environment.identity,
            engine=engine_hash(is_simulated(point.device)),
            variant=dict(point.variant),
            environ=environ_of(loaded, point),
            shaken=point.shaken,
        )
        reaching = {k: v for k, v in vars(facts).items() if k not in _NAMES}
        known[point] = Known(facts, _hash(reaching | surroundings))
    return known


def environ_of(loaded: LoadedRecipe, point: Point) -> dict[str, str]:
    """Return the variables that a run sets: the recipe's, before those of a shaken run."""
    own = loaded.recipe.environ_on(point.device)
    return VARIABLES | own if point.shaken else own


def verdict_key(planned: Planned, runs: Mapping[Point, Known]) -> str:
    """Return the hash of everything that a recipe's verdicts depend on.

    The keys of its ``runs``, the recipe's bytes, the levels and the code that judges decide every
    word of a verdict.
    """
    companions = [(name, level.number, level.tree) for name, level in planned.companions]
    return _hash(
        {
            "judge": judge_hash(),
            "recipe": [planned.loaded.port, planned.loaded.name, planned.loaded.sha256],
            "levels": [(level.number, level.name, level.tree) for level in planned.levels],
            "chosen": sorted(planned.chosen),
            "devices": planned.devices,
            "claims": [sorted(levels) for levels in planned.claim_levels],
            "targets": planned.claim_targets,
            "companions": companions,
            "runs": [(dataclasses.astuple(p), known.key) for p, known in runs.items()],
        }
    )


def probe_hash(loaded: LoadedRecipe) -> str:
    """Return the hash of a recipe's probe and of the files beside it that belong to it."""
    probe = loaded.probe
    return _files_hash(probe.parent, probe_files(loaded), probe.name)


@cache
def engine_hash(is_simulated: bool) -> str:
    """Return the hash of porter's own code around a probe, with the simulator's where it counts."""
    files = [_HERE / f"{name}.py" for name in runner.MODULES]
    files += (_HERE.parent / "device").glob("*.py")
    for package in _SIMULATOR if is_simulated else ():
        files += [path for path in package.rglob("*") if path.suffix in (".py", ".json")]
    return _files_hash(_HERE.parent, files)


@cache
def judge_hash() -> str:
    """Return the hash of the code that judges, and of whatever stands beside it."""
    return _files_hash(_HERE, _HERE.glob("*.py"))


@cache
def machine() -> str:
    """Return what of this machine decides results: system, C library, the processor's features.

    Kernels choose their code by the processor's features, so bits differ between machines that may
    well share a cache.
    """
    features = ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.partition(":")[0].strip() in ("flags", "Features", "model name"):
                features += line
            elif not line and features:
                break  # the first processor speaks for all
    except OSError:
        features = platform.processor()
    return f"{platform.platform()} {hashlib.sha256(features.encode()).hexdigest()[:16]}"


def _files_hash(base: Path, files: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for file in sorted(set(files)):
        digest.update(f"\0{file.relative_to(base)}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]

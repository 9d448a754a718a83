"""Cache keys of traces and verdicts.

A key hashes everything that a trace or a verdict depends on and nothing else: a trace's key does
not hold names, titles or claims. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from porter.verify.environment.variables import inherited
from porter.verify.environment.venv import Environment
from porter.verify.harness.run_info import RunFacts
from porter.verify.harness.shaken import VARIABLES
from porter.verify.plan.matrix import RecipePlan, RunSpec
from porter.verify.plan.trees import ForeignLevel
from porter.verify.recipe.load import LoadedRecipe
from porter.verify.recipe.probe_files import asks_level, probe_files
from porter.verify.recipe.schema import is_simulated

_NAMES = {"port", "recipe", "recipe_sha256", "level", "level_name"}
_PORTER = Path(__file__).parents[2]
_VERIFY = _PORTER / "verify"
_SIMULATOR = (_PORTER / "device", _PORTER / "migrate", _PORTER / "interception")


@dataclass(frozen=True)
class RunKey:
    """The facts of a run, known before it is made, and the key of its trace."""

    facts: RunFacts
    key: str
    around: dict[str, Any] = field(default_factory=dict)
    """What the run depends on beside its facts and its trees."""

    @property
    def base(self) -> str:
        """The key of all that the run depends on but its trees; "" where a trace serves no other
        tree.

        A run on a real card is measured on every tree.
        """
        if self.facts.device != "cpu" and not is_simulated(self.facts.device):
            return ""
        reached = reaching(self.facts)
        for name in ("tree", "companions"):
            del reached[name]
        return _hash(reached | self.around)


def known_runs(
    planned: RecipePlan, specs: Iterable[RunSpec], environment: Environment
) -> dict[RunSpec, RunKey]:
    """Return facts and keys of some runs of a recipe."""
    loaded = planned.loaded
    around = {"machine": machine(), "inherited": inherited()}
    surroundings = around | {"needs": loaded.recipe.needs}
    known = {}
    for spec, program in programs(planned, specs).items():
        level = planned.levels[spec.level]
        facts = RunFacts(
            port=loaded.port,
            recipe=loaded.name,
            recipe_sha256=loaded.sha256,
            level=level.number,
            level_name=level.name,
            threads=loaded.recipe.threads,
            environment=environment.identity,
            engine=engine_hash(is_simulated(spec.device)),
            **program,
        )
        reached = reaching(facts)
        if isinstance(level, ForeignLevel):
            reached["differs_from"] = level.upstream
        files = {"files": planned.files.get(spec.level, "")}
        known[spec] = RunKey(facts, _hash(reached | surroundings | files), around)
    return known


def reaching(facts: RunFacts) -> dict[str, Any]:
    """Return the facts that a run can see: runs that differ in none of them share a trace."""
    hidden = _NAMES - {"level", "level_name"} if facts.asks_level else _NAMES
    return {k: v for k, v in vars(facts).items() if k not in hidden}


def programs(planned: RecipePlan, specs: Iterable[RunSpec]) -> dict[RunSpec, dict[str, Any]]:
    """Return the facts (:class:`RunFacts`) of some runs that say what runs, but not in what."""
    loaded = planned.loaded
    shared = {
        "inputs_sha256": loaded.inputs_sha256(),
        "probe_sha256": probe_hash(loaded),
        "asks_level": asks_level(loaded),
        "companions": {name: level.tree for name, level in planned.companions},
    }
    return {
        spec: {
            **shared,
            "tree": planned.levels[spec.level].tree,
            "device": spec.device,
            "dtype": spec.dtype,
            "seed": spec.seed,
            "variant": dict(spec.variant),
            "environ": environ_of(loaded, spec),
            "shaken": spec.shaken,
        }
        for spec in specs
    }


def environ_of(loaded: LoadedRecipe, spec: RunSpec) -> dict[str, str]:
    """Return the variables that a run sets; the recipe's override those of a shaken run."""
    own = loaded.recipe.environ_on(spec.device)
    return VARIABLES | own if spec.shaken else own


def verdict_key(planned: RecipePlan, runs: Mapping[RunSpec, RunKey]) -> str:
    """Return the hash of everything that a recipe's verdicts depend on.

    That is the keys of its ``runs``, the recipe's bytes, the levels and the code that judges.
    """
    companions = [(name, level.number, level.tree) for name, level in planned.companions]
    return _hash(
        {
            "judge": judge_hash(),
            "recipe": [planned.loaded.port, planned.loaded.name, planned.loaded.sha256],
            "levels": [(level.number, level.name, level.tree) for level in planned.levels],
            "chosen": sorted(planned.chosen),
            "in_part": planned.in_part,
            "devices": planned.devices,
            "claims": [sorted(levels) for levels in planned.claim_levels],
            "targets": planned.claim_targets,
            "companions": companions,
            "runs": [(spec.row, known.key) for spec, known in runs.items()],
        }
    )


def probe_hash(loaded: LoadedRecipe) -> str:
    """Return the hash of a recipe's probe and of the files beside it that belong to it."""
    probe = loaded.probe
    return _files_hash(probe.parent, probe_files(loaded), probe.name)


@cache
def engine_hash(is_simulated: bool) -> str:
    """Return the hash of porter's own code around a probe, with the simulator's where it counts."""
    return _files_hash(_PORTER, engine_files(is_simulated))


@cache
def judge_hash() -> str:
    """Return the hash of the code that plans, runs and judges."""
    return _files_hash(_PORTER, judge_files())


def engine_files(is_simulated: bool) -> list[Path]:
    """Return the files whose code can change a trace: all that runs in a probe's process."""
    files = [*(_VERIFY / "harness").glob("*.py"), _VERIFY / "probe.py"]
    files += [_VERIFY / "execution" / "forkserver_main.py"]
    files += [_PORTER / "errors.py", _PORTER / "process.py"]
    files += (_PORTER / "device").glob("*.py")
    for package in _SIMULATOR if is_simulated else ():
        files += [path for path in package.rglob("*") if path.suffix in (".py", ".json")]
    return files


def judge_files() -> list[Path]:
    """Return the files whose code can change a verdict."""
    return [*_VERIFY.rglob("*.py"), _PORTER / "yamlfile.py", _PORTER / "yamlnodes.py"]


@cache
def machine() -> str:
    """Return what decides results on this machine: system, C library, the processor's features.

    Kernels choose their code by the processor's features, so results differ between machines, which
    may share a cache.
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


_SORTED = json.JSONEncoder(sort_keys=True)


def _hash(facts: object) -> str:
    return hashlib.sha256(_SORTED.encode(facts).encode()).hexdigest()[:40]

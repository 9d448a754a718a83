"""Load recipes: which probe runs, on which levels, devices and dtypes, with which claims.

Each is a YAML file, ``recipes/<port>/<name>.yaml``; ``docs/recipes.md`` explains every key, and
every kind of claim with its formula::

    version: 1
    title: cc12m_1, narrow, sampling        # one line, the heading of the results
    probe: sampling.py                      # beside the recipe; may import its neighbours
    environment: ../environments/v-diffusion.txt  # porter.verify.environment.venv; default: torch
    source_roots: [src]                     # folders of the tree on sys.path; default ["."]
    companions:                             # other ports' trees on sys.path, after this one's
      accelerate: upstream                  # which level: a name or number, or `last`
    needs: [src/diffusers/]                 # which files the run's tree holds: folders, files,
                                            # patterns, "!..." (porter.upstream.needs); default: all
                                            # code. A source that lacks some: not reachable.
    parameters: {size: 64}                  # passed to the probe unchanged
    vary: {steps: [4, 8, 16]}               # parameters with several values; each combination
                                            # (a "variant") is a run of its own
    seeds: [0]                              # default [0]; every seed is run and judged
    levels: all                             # all | [names or numbers] | {from: NAME, to: NAME}
    devices: [cpu, "sim:hpu"]               # default [cpu]
    dtypes: [float32, float16]              # default [float32]; or [native]
    reference: {device: cpu, dtype: float64}  # level 0 there is the reference
    baseline: {device: cpu}                 # level 0 there, in the run's dtype, is the allowance
    environ: {PT_HPU_LAZY_MODE: "1"}        # variables of the run; "sim:hpu": {...} of one device
    claims:                                 # every output needs one wherever the recipe runs
      - outputs: "image*"                   # shell-style pattern on the recorded names
        parity: {}                          # exactly one kind each: porter.verify.recipe.claims
      - outputs: scores
        levels: {from: fp32-bmm}            # narrowing: levels, devices, dtypes, where
        dtypes: [float16]
        within_ulps: {ulps: 8, reason: "level 0 overflows here, so it gives no allowance"}
      - counters: "sampling/compilations"
        devices: ["sim:hpu"]
        independent_of: steps
    limits: {seconds: 120, memory_gib: 4}   # of one run; these are the defaults
    threads: 1                              # of torch, OpenMP and MKL; default 1
    tags: [quick]                           # default none; `porter verify --tag`
    migration_log: true                     # `porter migration-log` lists the CUDA calls that its
                                            # runs on sim:hpu and sim:npu map; default false

Level 0 is called ``upstream``. Nothing here imports torch.
"""

from __future__ import annotations

import hashlib
import os.path
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from porter.upstream.needs import Needs
from porter.verify.recipe.schema import Recipe
from porter.verify.recipe.validate import check_recipe
from porter.yamlfile import Document, load


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe and its file. ``sha256`` is the hash of the file's bytes; ``threads``, where the
    user asked for a number, replaces the recipe's own."""

    name: str
    port: str
    document: Document[Recipe]
    sha256: str
    threads: int | None = None

    @property
    def path(self) -> Path:
        return self.document.path

    @property
    def recipe(self) -> Recipe:
        return self.document.value

    @property
    def probe(self) -> Path:
        return self.path.parent / self.recipe.probe

    @property
    def environment(self) -> Path | None:
        """The requirements file, or None when the probe needs nothing beyond torch."""
        if self.recipe.environment is None:
            return None
        # Not Path.resolve(): links in the path are left to the system.
        return Path(os.path.normpath(self.path.parent / self.recipe.environment))

    def with_threads(self, threads: int | None) -> LoadedRecipe:
        """Return the recipe with ``threads`` threads in every run (None: unchanged)."""
        if threads is None:
            return self
        changed = msgspec.structs.replace(self.recipe, threads=threads)
        return replace(self, document=replace(self.document, value=changed), threads=threads)

    def inputs_sha256(self) -> str:
        """Return the hash of the keys that reach the probe (claims and texts do not)."""
        recipe = self.recipe
        needs = Needs(recipe.needs).key()
        inputs = [recipe.parameters, recipe.source_roots, recipe.threads, needs]
        return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()


def load_recipe(path: Path) -> LoadedRecipe:
    """Read a recipe file of a port's folder.

    Raises BadInput, one line with file, line and key, for the first error in it.
    """
    document = load(path, Recipe)
    check_recipe(document)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return LoadedRecipe(path.stem, path.parent.name, document, sha256)


def find_recipes(folder: Path) -> list[LoadedRecipe]:
    """Return the recipes of a port's folder, by name; none if there is no folder."""
    return [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]

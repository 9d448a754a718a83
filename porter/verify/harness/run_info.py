"""What is known of a run before it runs, and the names of the files it leaves.

Apart from :mod:`porter.verify.harness.trace` because it needs no torch: an unchanged verification
looks up keys made of these facts and must not wait for an import. Standard library only, since the
probe's interpreter reads it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FORMAT = 2
TENSORS = "tensors.safetensors"
HEAD = "trace.json"
PRINTED = "printed.json"


@dataclass(frozen=True)
class RunFacts:
    """What was run: known before the run, and part of the trace's key.

    ``recipe_sha256`` is of the recipe file, ``inputs_sha256`` of what of it reaches the probe,
    ``probe_sha256`` of the Python files beside the recipe. ``variant`` holds the values of the
    recipe's ``vary`` (name -> JSON text), ``environ`` the variables that the recipe sets, and in a
    ``shaken`` run those of :data:`porter.verify.harness.shaken.VARIABLES`.
    """

    port: str
    recipe: str
    recipe_sha256: str
    inputs_sha256: str
    probe_sha256: str
    level: int
    level_name: str
    tree: str
    companions: dict[str, str]
    dtype: str
    device: str
    seed: int
    threads: int
    environment: str
    engine: str
    variant: dict[str, str] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    shaken: bool = False

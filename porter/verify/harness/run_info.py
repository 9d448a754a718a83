"""Facts known before a run, and names of its files; apart from ``trace`` to import no torch.

An unchanged verification looks up keys made of these facts and must not wait for torch.
Standard library only, since the probe's interpreter imports it too.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FORMAT = 2
TENSORS = "tensors.safetensors"
HEAD = "trace.json"
PRINTED = "printed.json"


@dataclass(frozen=True)
class RunFacts:
    """What a run runs: known before it, and part of the trace's key.

    ``recipe_sha256`` is of the recipe file, ``inputs_sha256`` of its keys that reach the probe,
    ``probe_sha256`` of the probe and the files that belong to it. ``variant`` holds the values of
    the recipe's ``vary`` (name -> JSON text), ``environ`` the variables that the recipe sets and,
    in a ``shaken`` run, those of :data:`porter.verify.harness.shaken.VARIABLES`. Level and name are
    part of the key only where the probe ``asks_level``.
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
    asks_level: bool = False

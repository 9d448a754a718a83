"""What drafted levels gain, as claims in the recipes that `porter add` wrote for a command.

Such a recipe ends its claims with :data:`DRAFT_LINE`. Claims are added above that line; all other
bytes stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from porter.draft.drafting import DraftedLevel
from porter.places import recipes_dir

DRAFT_LINE = "# porter draft: claims of drafted levels go above this line"
CUDA_LINE = 'reference: {device: "sim:cuda"} # without CUDA upstream stops'
"""The line of a recipe whose command does not run on the CPU at level 0."""
_ACCELERATORS = '["sim:hpu", "sim:npu"]'
_ON_THE_CPU = """\
  - outputs: "*" # from here on the command runs on the CPU too
    devices: [cpu]
    levels: {from: minimal}
    parity: {}
"""
_CLAIMS = {
    "minimal": f"""\
  - counters: cpu_fallback # nothing runs on the CPU in the device's place
    devices: {_ACCELERATORS}
    levels: {{from: minimal}}
    equal: 0
    contract: false
""",
    "randn-to-cpu": f"""\
  - counters: device_draws # the tree itself draws on the CPU
    devices: {_ACCELERATORS}
    levels: {{from: randn-to-cpu}}
    equal: 0
    contract: false
""",
}
_STATIC = """\
  - counters: compilations # each step is the same graph
    devices: ["sim:hpu"]
    levels: {{from: {level}}}
    independent_of: steps
    contract: false
"""


def with_claims(root: Path, port: str, levels: Sequence[DraftedLevel]) -> dict[str, bytes | None]:
    """Return the port's recipes that get claims for ``levels``: path in the project -> content."""
    changed: dict[str, bytes | None] = {}
    names = [level.family.name for level in levels]
    for path in sorted(recipes_dir(root, port).glob("*.yaml")):
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        before, line, after = text.partition(f"  {DRAFT_LINE}\n")
        if not line:
            continue
        if CUDA_LINE in text and "minimal" in names:
            before += _ON_THE_CPU
        before += "".join(_CLAIMS.get(name, "") for name in names)
        static = next((each for each in ("static-graphs", "minimal") if each in names), "")
        if static and "\nvary: {steps:" in text:
            before += _STATIC.format(level=static)
        changed[path.relative_to(root).as_posix()] = f"{before}{line}{after}".encode(
            "utf-8", "surrogateescape"
        )
    return changed

"""The page of each rule, and the table of all, made from the rules' classes."""

from __future__ import annotations

from porter.scan.measuring.kinds import KINDS
from porter.scan.reading.rule import DEVICES, Rule
from porter.scan.rules.registry import FAMILIES


def page(rule: type[Rule]) -> list[str]:
    """Return what ``porter explain`` prints about a rule."""
    lines = [f"{rule.code} {rule.name}: {rule.title}", ""]
    for device, reason in rule.reasons.items():
        lines += [f"{device}: {reason.severity}: {reason.text}", f"     source: {reason.source}"]
    lines += ["", f"mend: {rule.mend}", "", "before (found: the lines that end in `# <-`):", ""]
    lines += [f"    {line}".rstrip() for line in rule.before.rstrip("\n").split("\n")]
    lines += ["", "after:", ""]
    lines += [f"    {line}".rstrip() for line in rule.after.rstrip("\n").split("\n")]
    if rule.learnt:
        lines += ["", f"learnt in: {', '.join(f'patches/{each}' for each in rule.learnt)}"]
    if rule.served:
        lines += ["", "A tree that lets the vendor serve CUDA calls (habana_frameworks.torch."]
        lines += ["gpu_migration, torch_npu.contrib.transfer_to_npu) is not asked on that device."]
    return [*lines, "", f"exempt a line: # porter: ignore[{rule.code}] and why"]


def overview() -> list[tuple[str, ...]]:
    """Return a row per rule: code, name, severity on hpu, on npu, title."""
    return [
        (rule.code, rule.name, *_severities(rule), rule.title)
        for family in FAMILIES.values()
        for rule in family
    ] + [
        (
            kind.code,
            kind.name,
            *(kind.reasons[d].severity if d in kind.reasons else "" for d in DEVICES),
            kind.title,
        )
        for kind in KINDS.values()
    ]


def _severities(rule: type[Rule]) -> list[str]:
    return [rule.reasons[d].severity if d in rule.reasons else "" for d in DEVICES]


def table() -> list[str]:
    """Return the table of docs/scan.md, as Markdown."""
    head = ("code", "rule", "what it finds", *DEVICES, "learnt in")
    rows: list[tuple[str, ...]] = [head, ("---",) * len(head)]
    for family in FAMILIES.values():
        for rule in family:
            learnt = ", ".join(f"`{each.removesuffix('.patch')}`" for each in rule.learnt)
            rows.append((rule.code, rule.name, rule.title, *_severities(rule), learnt))
    for row in overview()[-len(KINDS) :]:
        rows.append((row[0], row[1], row[4], row[2], row[3], "a run: `scan ... -- COMMAND`"))
    return [f"| {' | '.join(cells)} |" for cells in rows]

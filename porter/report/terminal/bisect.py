"""What ``porter bisect`` found, as text and JSON: the level that broke a claim, and its patch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from porter.report.terminal.verify import fault
from porter.series.series import load_series
from porter.verify.judge.result import verdict_to_json

if TYPE_CHECKING:
    from porter.verify.bisect import Border
    from porter.verify.plan.matrix import RecipePlan


def print_border(console: Console, planned: RecipePlan, border: Border, root: Path) -> None:
    """Print the level that broke the claim, its patch and verdicts, and the next command."""
    first, good = planned.levels[border.first_bad], border.last_good
    console.print()
    if good is None:
        text = "the lowest level that the claim is about: it fails from the start"
    else:
        text = f"breaks it; level {good} {planned.levels[good].name} holds"
    console.print(Text(f"level {first.number} {first.name}", "bold") + Text(f" {text}"))
    path, subject = _patch(planned, first.number, root)
    if path:
        console.print(Text(f"{path}: {subject}"), soft_wrap=True)
    for verdict in border.verdicts:
        console.print(Text("  ") + fault(verdict), soft_wrap=True)
    if command := _compare_command(planned, border):
        console.print(Text(f"    narrow it down: {command}", "dim"), soft_wrap=True)


def border_json(planned: RecipePlan, border: Border, root: Path) -> dict[str, Any]:
    """Return the same as plain values."""
    path, subject = _patch(planned, border.first_bad, root)
    return {
        "border": {
            "last_good": border.last_good,
            "first_bad": border.first_bad,
            "level_name": planned.levels[border.first_bad].name,
            "patch": path or None,
            "subject": subject or None,
            "verdicts": [verdict_to_json(verdict) for verdict in border.verdicts],
            "narrow": _compare_command(planned, border) or None,
        }
    }


def _patch(planned: RecipePlan, level: int, root: Path) -> tuple[str, str]:
    """Return the patch that leads to a level, relative to the project, and its subject."""
    patches = load_series(root, planned.loaded.port).patches
    if not 0 < level <= len(patches):
        return "", ""
    patch = patches[level - 1]
    return str(patch.path.relative_to(root)), patch.header.subject


def _compare_command(planned: RecipePlan, border: Border) -> str:
    """Return the command that finds where in the model the first bad level diverges."""
    if border.last_good is None or not any(
        v.word == "fail" and v.subject == "outputs" for v in border.verdicts
    ):
        return ""
    loaded, device = planned.loaded, border.verdicts[0].device
    good, bad = (planned.levels[n].name for n in (border.last_good, border.first_bad))
    return f"porter compare {loaded.port} {good} {bad} --recipe {loaded.name} --device {device}"

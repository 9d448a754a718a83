"""What `porter verify --tree` says of the tree itself: which it is, and what it is held to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from porter.terminal import counted

if TYPE_CHECKING:
    from porter.verify.foreign.plan import ForeignPlan
    from porter.verify.foreign.trees import ForeignTrees


def print_tree(console: Console, planned: ForeignPlan, trees: ForeignTrees) -> None:
    """Print the tree's name and id, the claims it is held to, and what is left out."""
    level = planned.judged_as
    held = (
        f"the claims on level {level.number} {level.name}, those of the port's own patches too"
        if level
        else "the contract: the claims that every port must keep"
    )
    head = Text(f"{trees.port}: {trees.level.name}", "bold")
    console.print(head + Text(f" (git tree {trees.level.tree[:12]})"), soft_wrap=True)
    console.print(f"  held to {held}", soft_wrap=True)
    for link in trees.links_out:
        console.print(f"  left out: the link {link} leads out of the tree", soft_wrap=True)
    for path in trees.submodules_out:
        console.print(f"  left out: the submodule {path} is not checked out", soft_wrap=True)
    if planned.without:
        count = counted(len(planned.without), "recipe")
        names = ", ".join(planned.without)
        console.print(f"  {count} without such a claim: {names}", soft_wrap=True)
    console.print()


def plain_tree(planned: ForeignPlan, trees: ForeignTrees) -> Mapping[str, Any]:
    """Return the same as plain values for JSON."""
    level = planned.judged_as
    return {
        "name": trees.level.name,
        "source": trees.source,
        "tree": trees.level.tree,
        "level": trees.level.number,
        "as": level.name if level else None,
        "links_out": list(trees.links_out),
        "submodules_out": list(trees.submodules_out),
        "recipes_without_claim": list(planned.without),
    }

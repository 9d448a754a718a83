"""The levels that can be drafted, in the order of a series, and how each mends what it mends."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from porter.draft import minimal, static_graphs
from porter.draft.edits import (
    Mended,
    Mender,
    end_of,
    insert,
    new_argument,
    replace,
    start_of,
    without_argument,
)
from porter.scan.reading.module import Module, argument, dotted
from porter.scan.reading.rule import Spot
from porter.source_text import TextEdit


@dataclass(frozen=True)
class Family:
    """A level to draft: the parts of its header, and a mender for each rule by its code."""

    name: str
    subject: str
    why: str
    devices: str
    keeps: str
    gains: str
    menders: Mapping[str, Mender]


def draw(module: Module, spot: Spot) -> Mended | None:
    """Draw on the CPU and move: the same distribution, shape and dtype."""
    call = spot.node
    assert isinstance(call, ast.Call)
    by_name = {each.arg: each for each in call.keywords}
    function = (module.called(call) or "").rpartition(".")[2]
    if "device" not in by_name or function == "normal" or None in by_name:
        return None
    if by_name.keys() & {"generator", "out", "requires_grad", "pin_memory", "layout"}:
        return None
    edit = without_argument(module, call, by_name["device"])
    if edit is None:
        return None
    to = insert(end_of(call), f".to({module.source.of(by_name['device'].value)})")
    return Mended((edit, to))


def draw_like(module: Module, spot: Spot) -> Mended | None:
    """Draw on the CPU as another tensor is: its shape and dtype, then move to its device."""
    call = spot.node
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
        return None
    if call.func.attr not in ("randn_like", "rand_like") or len(call.args) != 1:
        return None
    given = {each.arg: module.source.of(each.value) for each in call.keywords}
    if dotted(call.args[0]) is None or not given.keys() <= {"dtype", "device"}:
        return None
    function = module.source.of(call.func).removesuffix("_like")
    like = module.source.of(call.args[0])
    dtype, device = given.get("dtype", f"{like}.dtype"), given.get("device", f"{like}.device")
    text = f"{function}({like}.shape, dtype={dtype}).to({device})"
    return Mended((replace(module, call, text),))


def one_group(module: Module, spot: Spot) -> Mended | None:
    """A norm of one group becomes a LayerNorm with the same parameters."""
    call = spot.node
    assert isinstance(call, ast.Call)
    named = {each.arg for each in call.keywords}
    if module.called(call) != "torch.nn.GroupNorm" or not named <= {"eps", "affine"}:
        return None
    if len(call.args) < 2 or any(isinstance(each, ast.Starred) for each in call.args):
        return None
    if spot.sure == "likely":
        if len(call.args) > 2:
            return None
        return Mended((replace(module, call.func, "group_norm"),), ("group_norm",))
    if spot.sure != "sure":
        return None
    edit = TextEdit(*start_of(call), *start_of(call.args[1]), "LayerNormCHW(")
    return Mended((edit,), ("LayerNormCHW",))


def pinning(_: Module, spot: Spot) -> Mended | None:
    """A loader pins its batches, unless it says that it does not."""
    call = spot.node
    assert isinstance(call, ast.Call)
    if argument(call, "pin_memory", 8) is not None:
        return None
    edit = new_argument(call, "pin_memory=True")
    return None if edit is None else Mended((edit,))


FAMILIES = (
    Family(
        "minimal",
        "Run on the accelerator that is there",
        "The code named CUDA where it meant the accelerator. devices.py finds the one that is\n"
        "there and imports its vendor's package. In the lazy mode of a Gaudi a graph ends after\n"
        "each step, so that the steps do not become one graph.",
        "hpu, npu",
        "files, losses and images on cpu and cuda, to prove by a script recipe",
        "runs on hpu and npu, to prove by a script recipe on both",
        {
            "PT101": minimal.device_choice,
            "PT102": minimal.cuda_method,
            "PT103": minimal.cuda_call,
            "PT201": minimal.autocast,
            "PT204": minimal.float64,
            "PT301": minimal.backend,
            "PT302": minimal.card_of_rank,
            "PT303": minimal.device_ids,
            "PT513": minimal.mark_step,
            "PT703": minimal.map_location,
            "PT801": minimal.cuda_package,
        },
    ),
    Family(
        "randn-to-cpu",
        "Draw noise on the CPU",
        "Each device's generator gives other numbers for a seed. The CPU's draws and the numbers\n"
        "are moved, so one seed gives the same numbers on every device.",
        "hpu, npu, cuda",
        "what upstream computes on the CPU, to prove by a recipe with a stated seed",
        "the same numbers on every device, to prove by the same recipe on hpu and npu",
        {"PT401": draw, "PT402": draw_like},
    ),
    Family(
        "static-graphs",
        "Make the steps of a loop the same graph",
        "In the lazy mode of a Gaudi a number of Python's is part of the graph, so every step\n"
        "compiled a graph of its own. The step's number comes from the host as data, and Adam\n"
        "counts its steps in a tensor.",
        "hpu",
        "losses and images on all devices, to prove by a script recipe",
        "as many compilations for any number of steps, to prove by the recipe's counters",
        {
            "PT511": static_graphs.numbered_read,
            "PT512": static_graphs.numbered_tensor,
            "PT701": static_graphs.optimizer,
        },
    ),
    Family(
        "groupnorm-to-layernorm",
        "Replace GroupNorm with one group by LayerNorm",
        "With one group the norm is a LayerNorm over all but the first axis, followed by one\n"
        "weight and one bias a channel. LayerNorm is one kernel on a Gaudi; GroupNorm's backward\n"
        "pass is many. Parameters keep their names and shapes, so checkpoints load as before.",
        "hpu",
        "outputs and checkpoint keys, to prove by a recipe",
        "no group_norm of one group is left, to prove by a counter",
        {"PT601": one_group},
    ),
    Family(
        "data-loading",
        "Pin the batches of loaders",
        "A copy from pageable memory makes the host wait for it.",
        "hpu, npu, cuda",
        "batches, to prove by a recipe",
        "copies that the host need not wait for, to prove by a counter",
        {"PT702": pinning},
    ),
)

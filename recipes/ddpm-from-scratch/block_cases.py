"""Every type of block alone: outputs, gradients, parameter names and the norms it asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from porter.verify.probe import Probe

Case = tuple[Callable[[], torch.nn.Module], tuple[int, ...], tuple[str, ...]]


class Norms(TorchDispatchMode):
    """Counts group norms with one group, those with more, and layer norms, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.one_group = self.more_groups = self.layer = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; torch need not import its compiler, two seconds, to be told."""
        return False

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = op.overloadpacket.__name__
        if name in ("native_group_norm", "native_group_norm_backward"):
            groups = next(a for a in reversed(args) if type(a) is int)
            self.one_group += groups == 1
            self.more_groups += groups > 1
        elif name in ("native_layer_norm", "native_layer_norm_backward"):
            self.layer += 1
        return op(*args, **(kwargs or {}))


def cases() -> dict[str, Case]:
    """Return name -> constructor, shape of the image, further inputs (t, c).

    Channels are chosen so that every norm has one group in some block and more in another.
    """
    from src.blocks.clsAttn import clsAttn, clsAttn_Linear
    from src.blocks.convNext import convNext
    from src.blocks.Multihead_Attn import Multihead_Attn
    from src.blocks.wideResNet import ResnetBlock

    return {
        "res-one": (lambda: ResnetBlock(6, 5, 7, 3), (2, 6, 8, 6), ("t", "c")),
        "res-half": (lambda: ResnetBlock(6, 16, 7, 3), (2, 6, 8, 6), ("t", "c")),
        "res-more": (lambda: ResnetBlock(8, 16, 7, 3), (2, 8, 8, 6), ("t", "c")),
        "conv-one": (lambda: convNext(4, 6, 7, 3), (2, 4, 8, 6), ("t", "c")),
        "conv-more": (lambda: convNext(12, 4, 7, 3), (2, 12, 8, 6), ("t", "c")),
        "conv-alone": (lambda: convNext(3, 3), (2, 3, 8, 6), ()),
        "class-one": (lambda: clsAttn(3, 5), (2, 5, 8, 6), ("c",)),
        "class-more": (lambda: clsAttn(3, 8), (2, 8, 8, 6), ("c",)),
        "class-few": (lambda: clsAttn(3, 4), (2, 4, 8, 6), ("c",)),
        "class-linear-few": (lambda: clsAttn_Linear(3, 4), (2, 4, 8, 6), ("c",)),
        "attention-few": (
            lambda: Multihead_Attn(4, resolution=4, spatial=True), (2, 4, 8, 8), (),
        ),
        "class-linear-one": (lambda: clsAttn_Linear(3, 5), (2, 5, 8, 6), ("c",)),
        "class-linear-more": (lambda: clsAttn_Linear(3, 8), (2, 8, 8, 6), ("c",)),
        "attention-one": (
            lambda: Multihead_Attn(5, resolution=4, spatial=True), (2, 5, 8, 12), (),
        ),
        "attention-more": (
            lambda: Multihead_Attn(8, resolution=4, spatial=True), (3, 8, 8, 8), (),
        ),
        "attention-whole": (
            lambda: Multihead_Attn(8, resolution=16, spatial=True), (2, 8, 8, 6), (),
        ),
        "attention-channels": (lambda: Multihead_Attn(8, resolution=4), (2, 8, 8, 8), ()),
    }  # fmt: skip


def attended(block: torch.nn.Module, inputs: list[torch.Tensor]) -> torch.Tensor:
    """Return what the block gives; upstream's linear class attention gives None.

    That one's result is taken where its last layer hands it over.
    """
    kept: list[torch.Tensor] = []
    last = getattr(block, "out_emb", None)
    hook = last and last.register_forward_hook(lambda _module, _given, out: kept.append(out))
    out = block(*inputs)
    if hook:
        hook.remove()
    return kept[-1] if out is None else out


def _record(
    probe: Probe, name: str, made: torch.nn.Module, shape: tuple[int, ...], further: Sequence[str]
) -> None:
    block = probe.alive(made, name)
    inputs = [probe.normal(f"{name}/x", *shape).requires_grad_()]
    inputs += [probe.normal(f"{name}/t", shape[0], 7)] if "t" in further else []
    inputs += [probe.normal(f"{name}/c", shape[0], 3)] if "c" in further else []
    names = [f"{key} {tuple(x.shape)}" for key, x in block.state_dict().items()]
    probe.record_text(f"{name}/checkpoint", "\n".join(names))
    out = attended(block, inputs)
    out.backward(probe.normal(f"{name}/out", *out.shape).to(out.dtype))
    probe.record(f"{name}/output", out.detach())
    given = [inputs[0], *block.parameters()]
    gradients = [x.grad.flatten() for x in given if x.grad is not None]
    probe.record(f"{name}/gradients", torch.cat(gradients))


def run(probe: Probe) -> None:
    """Record each block's output, its gradients (one vector) and its parameters' names."""
    with Norms() as norms:
        for name, (make, shape, further) in cases().items():
            with probe.attempt(name):
                _record(probe, name, make(), shape, further)
    probe.count("one_group_norms", norms.one_group)
    probe.count("more_groups_norms", norms.more_groups)
    probe.count("layer_norms", norms.layer)

"""``torch_npu.contrib``: overlaps of boxes, dropout from masks made ahead, a prefetcher.

Formulas: ``torch_npu/contrib`` of Ascend/pytorch (9e73e708).
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from porter.device.sim.ascend import boxes
from porter.device.sim.ascend.dropout import npu_dropout_do_mask, npu_dropout_gen_mask


def npu_iou(
    boxes1: Tensor,
    boxes2: Tensor,
    mode: str = "ptiou",
    is_normalized: bool = False,
    normalized_scale: float = 100.0,
) -> Tensor:
    """Return the overlaps (boxes1, boxes2); normalized boxes are scaled up first."""
    if mode not in ("iou", "ptiou"):
        raise ValueError("Expected mode in [iou, ptiou]")
    if is_normalized:
        boxes1, boxes2 = boxes1 * normalized_scale, boxes2 * normalized_scale
    operator = boxes.npu_iou if mode == "iou" else boxes.npu_ptiou
    overlaps: Tensor = operator(boxes2, boxes1)
    return overlaps


npu_ptiou = npu_iou


def _npu() -> Any:
    """Return ``torch.npu``, which mypy does not know."""
    return vars(torch)["npu"]


_STEP, _MEBI = 128, 1 << 20
_LEAST = 16


class _Masks:
    """Bits for dropout with one probability: made for a whole step, taken in order."""

    def __init__(self, device: str, p: float) -> None:
        self.device, self.p, self.size = device, p, _LEAST
        self.renew()

    def renew(self) -> None:
        """Make new bits, as many as the largest step took."""
        self.mask = npu_dropout_gen_mask([self.size, _MEBI], self.p, device=self.device)
        self.at = 0

    def take(self, count: int) -> Tensor:
        """Return the bytes for ``count`` elements; the first ones again if there are too few."""
        length = -(-count // _STEP) * _STEP // 8
        start, self.at = self.at, self.at + length
        if self.at > len(self.mask):
            self.size = max(self.at * 8 // _MEBI + 1, self.size)
            start = 0
        return self.mask[start : start + length]


class NpuPreGenDropout(nn.Dropout):
    """Dropout whose masks :meth:`enable_dropout_ensemble` makes once per step of a model."""

    prob: ClassVar[set[float]] = set()
    task_dict: ClassVar[dict[float, _Masks]] = {}
    dropout_stream: ClassVar[Any] = None

    def __init__(self, p: float, module_name: str | None = None) -> None:
        super().__init__(p)
        self.module_name = module_name
        NpuPreGenDropout.prob.add(p)

    def forward(self, x: Tensor | list[Any]) -> Any:
        """Drop elements of a tensor; for (shape, dtype, device) return the mask's bytes."""
        if self.p == 0:
            return x if isinstance(x, Tensor) else None
        masks = NpuPreGenDropout.task_dict.get(self.p)
        if masks is None:
            known = sorted(NpuPreGenDropout.task_dict)
            raise RuntimeError(f"NpuPreGenDropout input prob error! You Only Register prob:{known}")
        mask = masks.take(math.prod(x.shape if isinstance(x, Tensor) else x[0]))
        return npu_dropout_do_mask(x, mask, self.p)[0] if isinstance(x, Tensor) else mask

    @classmethod
    def enable_dropout_ensemble(cls, model: nn.Module) -> None:
        """Make masks for all probabilities now, and new ones after each forward of the model."""
        device = f"npu:{vars(torch)['npu'].current_device()}"
        if cls.dropout_stream is None:
            cls.dropout_stream = _npu().Stream()
        for p in cls.prob:
            cls.task_dict[p] = _Masks(device, p)

        def renew(*_: Any) -> None:
            for masks in cls.task_dict.values():
                masks.renew()

        model.register_forward_hook(renew)


class Prefetcher:
    """Copies the next (input, target) of a loader to the device while the last is worked on."""

    def __init__(self, loader: Any, stream: Any = None) -> None:
        self.loader = iter(loader)
        self.stream = stream if stream is not None else _npu().Stream()
        self.preload()

    def preload(self) -> None:
        """Take the next pair; both are None behind the last."""
        pair = next(self.loader, None)
        self.next_input: Any
        self.next_target: Any
        self.next_input, self.next_target = (None, None) if pair is None else pair
        if pair is None:
            return
        with _npu().stream(self.stream):
            self.next_input = pair[0].npu(non_blocking=True)
            self.next_target = pair[1].npu(non_blocking=True)

    def next(self) -> tuple[Any, Any]:
        """Return the pair that was copied and begin with the next one."""
        _npu().current_stream().wait_stream(self.stream)
        pair = self.next_input, self.next_target
        if pair[1] is not None:
            self.preload()
        return pair

"""The layout of the simulated ``torch_npu``, and how it meets ``torch.npu``."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

import torch

from porter.device.sim.vendors.stub_module import Package, answer_for

_HERE = "porter.device.sim.ascend"
_RANDOM = (
    "get_rng_state", "get_rng_state_all", "initial_seed", "manual_seed", "manual_seed_all", "seed",
    "seed_all", "set_rng_state", "set_rng_state_all",
)  # fmt: skip
_DTYPES = {
    "BFloat16Tensor": torch.bfloat16, "BoolTensor": torch.bool, "ByteTensor": torch.uint8,
    "CharTensor": torch.int8, "DoubleTensor": torch.float64, "FloatTensor": torch.float32,
    "HalfTensor": torch.float16, "IntTensor": torch.int32, "LongTensor": torch.int64,
    "ShortTensor": torch.int16,
}  # fmt: skip


class _TensorType(type):
    """``torch.npu.FloatTensor``: makes such tensors, and recognises them."""

    porter_dtype: torch.dtype

    def __call__(cls, *args: object) -> torch.Tensor:
        sizes = [size for size in args if type(size) is int]
        if sizes and len(sizes) == len(args):
            return torch.empty(sizes, dtype=cls.porter_dtype, device="npu")
        return torch.tensor(args[0] if args else [], dtype=cls.porter_dtype).to("npu")

    def __instancecheck__(cls, instance: object) -> bool:
        return (
            isinstance(instance, torch.Tensor)
            and instance.device.type == "npu"
            and instance.dtype == cls.porter_dtype
        )


def _publish(modules: Mapping[str, ModuleType]) -> None:
    """``torch.npu`` and ``torch_npu.npu`` are one module on the card: same names."""
    ours = modules["torch_npu.npu"]
    common = vars(torch)["npu"]
    for name, dtype in _DTYPES.items():
        setattr(ours, name, _TensorType(name, (), {"porter_dtype": dtype}))
    own = {name: value for name, value in vars(ours).items() if not name.startswith("__")}
    for name, value in vars(common).items():
        if not name.startswith("__") and name not in own:
            setattr(ours, name, value)
    for name, value in own.items():
        setattr(common, name, value)
    for name in _RANDOM:
        setattr(modules["torch_npu.npu.random"], name, getattr(common, name))
    version = f"{torch.__version__.partition('+')[0]}+simulated"
    setattr(modules["torch_npu"], "__version__", version)  # noqa: B010
    answer_for(common, ours.__name__)


ASCEND = Package(
    root="torch_npu",
    contents={
        "torch_npu": f"{_HERE}.root",
        "torch_npu.contrib": None,
        "torch_npu.contrib.transfer_to_npu": f"{_HERE}.transfer_to_npu",
        "torch_npu.npu": f"{_HERE}.npu",
        "torch_npu.npu.amp": f"{_HERE}.amp",
        "torch_npu.npu.amp.autocast_mode": f"{_HERE}.amp",
        "torch_npu.npu.amp.grad_scaler": f"{_HERE}.grad_scaler",
        "torch_npu.npu.graphs": f"{_HERE}.graphs",
        "torch_npu.npu.random": None,
        "torch_npu.npu.utils": f"{_HERE}.npu_utils",
        "torch_npu.optim": f"{_HERE}.optimizers",
    },
    acting=frozenset({"torch_npu.contrib.transfer_to_npu"}),
    publish=_publish,
)

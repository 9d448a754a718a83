"""Tensors on a simulated device: a subclass over CPU storage that reports the device.

C++ still sees a CPU tensor with the Python dispatch key, so kernels, autograd, in-place metadata
changes and storage sharing are the real ones. The class answers Python's questions about placement.
There is one class per device index, so placement needs no per-tensor state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NoReturn

import torch
from torch import _tensor_str

from porter.device.sim.core.machine import Machine

_TYPED = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
)  # fmt: skip
TYPE_NAMES = {
    dtype: torch.empty(0, dtype=dtype).type().removeprefix("torch.").removesuffix("Tensor")
    for dtype in _TYPED
}
"""``torch.float32: "Float"``"""


def tensors_in(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of an argument or result, inside lists and tuples too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from tensors_in(each)


class _LikeTensor(type(torch.Tensor)):  # type: ignore[misc]
    """Makes ``type(x) == torch.Tensor`` hold, which programs test and real devices satisfy.

    The hash stays the class's own, so dictionaries and sets still distinguish the classes.
    """

    def __eq__(cls, other: object) -> bool:
        return other is cls or other is torch.Tensor

    __hash__ = type.__hash__


class DeviceTensor(torch.Tensor, metaclass=_LikeTensor):
    """Base of all tensors on simulated devices."""

    machine: ClassVar[Machine]
    device: ClassVar[torch.device]  # type: ignore[misc]
    is_cpu: ClassVar[bool] = False  # type: ignore[misc]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def get_device(self) -> int:
        """The index of the device."""
        index: int = self.device.index
        return index

    def _no_host_access(self) -> TypeError:
        return TypeError(
            f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy "
            "the tensor to host memory first."
        )

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a real device does, unless ``force`` copies to the host first."""
        if not force:
            raise self._no_host_access()
        return self.detach().cpu().resolve_conj().resolve_neg().numpy()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise self._no_host_access()

    def __dlpack__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise BufferError(f"{self.device}: DLPack export of a simulated tensor is not modelled")

    def tolist(self) -> Any:
        """Return the values as Python numbers: a transfer to the host."""
        return self.detach().cpu().tolist()

    def type(self, dtype: Any = None, *_: Any, **__: Any) -> Any:
        """Return the type's name, or the tensor converted to a dtype or a named tensor type."""
        if dtype is None:
            return f"torch.{self.device.type}.{TYPE_NAMES.get(self.dtype, str(self.dtype))}Tensor"
        if isinstance(dtype, torch.dtype):
            return self.to(dtype)
        name = dtype if isinstance(dtype, str) else f"{dtype.__module__}.{dtype.__name__}"
        words = name.removesuffix("Tensor").split(".")
        wanted = next(d for d, word in TYPE_NAMES.items() if word == words[-1])
        return self.to(words[1] if len(words) == 3 else "cpu", wanted)

    def new(  # type: ignore[override]
        self, *args: Any, device: Any = None, **kwargs: Any
    ) -> torch.Tensor:
        """Make a tensor of this dtype on this device: the legacy constructor."""
        target = self.device if device is None else device
        if (
            len(args) == 1
            and isinstance(args[0], (list, tuple))
            and not isinstance(args[0], torch.Size)
        ):
            return torch.tensor(args[0], dtype=self.dtype, device=target)
        if len(args) == 1 and isinstance(args[0], torch.Tensor):
            return args[0].to(target, self.dtype)
        size = args[0] if args and isinstance(args[0], torch.Size) else args
        return torch.empty(size or (0,), dtype=self.dtype, device=target, **kwargs)

    def contiguous(
        self, memory_format: torch.memory_format = torch.contiguous_format
    ) -> torch.Tensor:
        """Return the tensor in a memory format. Raises RuntimeError for one that a device lacks."""
        plain = memory_format is torch.contiguous_format or not self.machine.profile.contiguous_only
        if not plain and not self.is_contiguous(memory_format=memory_format):
            raise RuntimeError("NPU contiguous operator only supported contiguous memory format.")
        return super().contiguous(memory_format=memory_format)

    def record_stream(self, stream: Any) -> None:
        """Keep the memory until the stream's work is done: it is never reused early here."""
        if not isinstance(stream, torch.Stream):
            raise TypeError(
                "record_stream(): expected a stream of "
                f"{self.device}, found {type(stream).__name__}"
            )

    def pin_memory(self, device: Any = None) -> NoReturn:  # noqa: ARG002
        raise RuntimeError(f"cannot pin '{self.type()}' only dense CPU tensors can be pinned")

    def is_pinned(self, device: Any = None) -> bool:  # noqa: ARG002
        """Always False: only host memory is pinned."""
        return False

    def __format__(self, spec: str) -> str:
        if self.dim() == 0 and not self.is_meta:
            return format(self.item(), spec)
        return object.__format__(self, spec)

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        """Print as PyTorch prints the device's tensors; reading values is a transfer."""
        host = self.detach().cpu()
        if host.layout != torch.strided:
            return f"{host!r}".removesuffix(")") + f", device='{self.device}')"
        suffixes = [f"device='{self.device}'"]
        default = (torch.get_default_dtype(), torch.int64, torch.bool)
        if host.numel() == 0:
            body = "[]"
            if host.dim() != 1:
                suffixes.insert(0, f"size={tuple(host.shape)}")
            if host.dtype != torch.get_default_dtype():
                suffixes.append(f"dtype={host.dtype}")
        else:
            body = _tensor_str._tensor_str(host, len("tensor("))
            if host.dtype not in default:
                suffixes.append(f"dtype={host.dtype}")
        if self.grad_fn is not None:
            suffixes.append(f"grad_fn=<{type(self.grad_fn).__name__}>")
        elif self.requires_grad:
            suffixes.append("requires_grad=True")
        text: str = _tensor_str._add_suffixes(
            "tensor(" + body, suffixes, len("tensor("), force_newline=False
        )
        return f"Parameter containing:\n{text}" if isinstance(self, torch.nn.Parameter) else text

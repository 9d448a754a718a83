"""Real devices, through PyTorch and the vendors' plugins."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from porter.errors import BadInput

_PLUGINS = {
    "hpu": ("habana_frameworks.torch.core", "Intel's habana-torch-plugin"),
    "npu": ("torch_npu", "Huawei's torch-npu"),
}
_NO_FLOAT64 = ("hpu",)


class RealDevice:
    """The cpu, cuda, hpu or npu of this machine."""

    is_simulated = False

    def __init__(self, kind: str) -> None:
        self.name = self.kind = kind

    def prepare(self) -> None:
        """Import the plugin and check for a device. Raises BadInput when there is none."""
        import torch

        instead = f"; `--device sim:{self.kind}` simulates it on the CPU"
        if self.kind in _PLUGINS:
            module, package = _PLUGINS[self.kind]
            try:
                importlib.import_module(module)
            except ImportError as error:
                raise BadInput(
                    f"device {self.kind}: {package} is not installed here ({error}){instead}"
                ) from error
        if self.kind != "cpu" and not self._module().is_available():
            raise BadInput(
                f"device {self.kind}: PyTorch {torch.__version__} sees none here{instead}"
            )

    def _module(self) -> Any:
        import torch

        return getattr(torch, self.kind)

    def title(self) -> str:
        """The hardware's name."""
        if self.kind == "cpu":
            return "CPU"
        return str(self._module().get_device_name())

    def supports(self, dtype: Any) -> bool:
        """Whether the device can create and add tensors of this dtype."""
        import torch

        if dtype == torch.float64 and self.kind in _NO_FLOAT64:
            return False
        try:
            probe = torch.ones(1, dtype=dtype, device=self.kind)
            probe + probe
        except (RuntimeError, TypeError):
            return False
        return True

    def synchronize(self) -> None:
        """Wait until the device has finished all its work."""
        if self.kind != "cpu":
            self._module().synchronize()

    def counters(self, root: Path | None = None) -> dict[str, Any]:  # noqa: ARG002
        """Return no counts: a real device counts nothing."""
        return {"simulated": False, "device": self.name}

    def reset_counters(self) -> None:
        """Reset the memory peak, where the device keeps one."""
        if self.kind != "cpu":
            self._module().reset_peak_memory_stats()

    def peak_memory(self) -> int | None:
        """The peak of allocated bytes, from the plugin."""
        if self.kind == "cpu":
            return None
        return int(self._module().max_memory_allocated())

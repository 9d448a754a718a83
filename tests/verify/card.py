"""A vendor's package that makes "hpu" a real device of this machine, as far as porter can tell.

``import habana_frameworks.torch.core`` finds this package, and gives PyTorch a device type "hpu"
whose tensors live in the CPU's memory. It is porter's own simulation, started by the package and
not by porter: :class:`porter.device.RealDevice` drives it, and reads no counters from it.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = """\
import sys

from porter.device.sim.activate import activate

del sys.modules["habana_frameworks"]
activate("hpu")  # puts the simulated package in this one's place
"""


def install_card(folder: Path) -> None:
    """Write the package into a folder of ``sys.path``."""
    package = folder / "habana_frameworks"
    package.mkdir()
    (package / "__init__.py").write_text(PACKAGE)

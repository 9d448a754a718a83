"""``habana_frameworks.torch.hpex.hmp``: mixed precision of releases before autocast. Empty.

pytorch-lightning 1.6 to 1.9 imports it wherever the package is installed and uses it only in its
``HPUPrecisionPlugin``. This module makes the import work.
"""

from __future__ import annotations

__all__: list[str] = []

"""``habana_frameworks.torch.hpex.hmp``: mixed precision from before autocast, of old releases.

pytorch-lightning 1.6 to 1.9 imports it wherever the package is installed and uses it only in its
``HPUPrecisionPlugin``. The module is here so that such an import works; none of its names is.
"""

from __future__ import annotations

__all__: list[str] = []

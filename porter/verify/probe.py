"""The API of probe files: ``from porter.verify.probe import Probe``.

The public name of :mod:`porter.verify.harness.api`, where it is documented. It stays when the
package's inside is rearranged.
"""

from porter.verify.harness.api import Probe, ProbeError

__all__ = ["Probe", "ProbeError"]

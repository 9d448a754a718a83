"""The API of probe files: ``from porter.verify.probe import Probe``.

The public name of :mod:`porter.verify.harness.api`, which documents it. It stays the same when the
package is rearranged.
"""

from porter.verify.harness.api import Probe, ProbeError

__all__ = ["Probe", "ProbeError"]

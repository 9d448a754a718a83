"""Probe environments: one venv per requirements file, layered over the running torch.

Requirements files, ``recipes/environments/<name>.txt``, are ordinary pip requirements files (each
line a requirement; ``#`` comments; no ``-r``, ``-c``, ``-e`` or index options), so they can be used
by hand too. torch, safetensors and the device's plugin are never listed: the layer brings the ones
of the interpreter that runs porter, with what they need, and pip sees them as installed. Packages
of the file win over the layer's (``numpy<2`` is what the probe gets whatever torch stands beside).

Two comments speak to porter::

    torchvision  # porter: no-deps
    # porter: stub torchvision._meta_registrations

``# porter: no-deps`` after a requirement installs it after the others and without its dependencies:
for packages that pin a torch build (torchvision, torchaudio), which would otherwise bring a second
torch. ``torchvision`` and ``torchaudio`` without a version get the release that belongs to the
running torch (torch 2.N: torchvision 0.(N+15), torchaudio 2.N; pytorch.org's table of versions).

``# porter: stub MODULE`` on a line of its own puts an empty module under that name before any
import, in that environment only. torchvision from the package index beside a CPU torch cannot
register its compiled operators and fails in ``torchvision._meta_registrations``; its transforms
need none of them.
"""

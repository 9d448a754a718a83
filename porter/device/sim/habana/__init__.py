"""Simulate ``habana_frameworks.torch``, which a ported tree imports on ``sim:hpu``.

Each name computes the documented result with plain torch ops, in the documented precision. Sources:
Intel's Gaudi documentation (docs.habana.ai), and the calls of published clients
(``porter/device/sim/contract/habana-frameworks.json``).
"""

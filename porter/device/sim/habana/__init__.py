"""``habana_frameworks.torch`` as a ported tree imports it on ``sim:hpu``: a simulated module.

What each name computes is the documented result, with plain torch ops, in the documented precision.
Sources: Intel's Gaudi documentation (docs.habana.ai), and how published clients call the names
(``porter/device/sim/contract/habana-frameworks.json``).
"""

"""Recipes, probe runs, traces and verdicts: what every level of a port keeps.

Order of the modules, each importing only what stands left of it::

    selection, claims -> recipe_model, recipe_check, recipe -> planned -> points -> plan
    probe, script, ... -> runner (child) | process, run (parent) -> trace
    environment, trees, keys, cache -> runs -> execute
    tensor_words, parity, images, ... -> compare, counted, throughput -> ran -> verdict

:mod:`porter.verify.plan.matrix` stands between the two halves: it says which runs a recipe asks
for, and :func:`~porter.verify.plan.matrix.judge` what they come to.
:mod:`~porter.verify.cache.record`, :mod:`~porter.verify.rejudge` and :mod:`~porter.verify.bisect`
use both.

:mod:`porter.verify.harness.api`, :mod:`porter.verify.harness.main` and
:mod:`porter.verify.harness.trace` also run inside a probe's own interpreter, which has torch and
safetensors but none of porter's other dependencies.
"""

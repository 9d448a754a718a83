"""Recipes, probe runs, traces and verdicts: what every level of a port keeps.

Order of the modules, each importing only what stands left of it::

    recipe, probe -> environment, trees -> runner (child) / run (parent) -> trace -> compare
        -> verdict -> plan -> execute

:mod:`porter.verify.probe`, :mod:`porter.verify.runner` and :mod:`porter.verify.trace` also run
inside a probe's own interpreter, which has torch and safetensors but none of porter's other
dependencies.
"""

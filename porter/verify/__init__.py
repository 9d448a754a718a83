"""Recipes, probe runs, traces and verdicts: what every level of a port keeps.

``docs/architecture.md`` says what each folder holds, and which may import which. What runs inside a
probe's own interpreter (:mod:`porter.verify.harness`) has torch and safetensors but none of
porter's other dependencies.
"""

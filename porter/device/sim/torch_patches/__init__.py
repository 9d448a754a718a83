"""Replacements of torch's own functions, so that they know the simulated device."""

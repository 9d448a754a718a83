"""Build virtual environments for probes."""

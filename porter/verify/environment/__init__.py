"""Virtual environments for probes."""

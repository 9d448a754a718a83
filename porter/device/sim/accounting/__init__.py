"""Count what a simulated device does: ops, transfers, CPU fallbacks, host syncs."""

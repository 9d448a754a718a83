"""What a simulated device counts: ops, transfers, fallbacks to the CPU, waits of the host."""

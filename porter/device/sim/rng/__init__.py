"""Random numbers of a simulated device."""

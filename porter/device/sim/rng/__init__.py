"""Draw the random numbers of a simulated device."""

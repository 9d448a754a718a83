"""What the simulated packages of all vendors share."""

"""What a command asks of the simulated devices, joined to the lines that rules found."""

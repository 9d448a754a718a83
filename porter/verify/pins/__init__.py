"""Two states of one port, with different pins, compared level by level."""

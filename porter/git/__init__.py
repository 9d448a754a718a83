"""git's objects as values, and reading, writing and running git."""

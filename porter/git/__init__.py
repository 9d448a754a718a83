"""git's objects as values; reading, writing and running git."""

"""Judge a tree that somebody else made by a port's recipes."""

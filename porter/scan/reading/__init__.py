"""What a rule is, and a file as rules read it."""

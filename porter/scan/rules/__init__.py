"""The rules, one small module per family."""

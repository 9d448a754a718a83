"""What each patch makes of the pinned tree: built, locked, checked and linted."""

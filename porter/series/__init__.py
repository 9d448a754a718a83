"""Patch files: diffs, headers and the series that orders them."""

"""Verification power: ports made wrong on purpose, and whether the recipes notice."""

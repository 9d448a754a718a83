"""Levels of a series: built in memory, locked, checked and linted."""

"""Pins, the store, and the sources that fill it."""

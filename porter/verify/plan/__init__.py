"""Decide which runs a recipe needs, and on which trees."""

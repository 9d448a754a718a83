"""Decide which runs a recipe needs, on which trees."""

"""Levels checked out into folders: making, moving and exporting work trees."""

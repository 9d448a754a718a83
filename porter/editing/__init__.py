"""Change a series: refresh, reorder, move to another upstream, undo."""

"""How porter shows what it found: on a terminal, as JSON."""

"""Find the first tensor at which two runs diverge."""

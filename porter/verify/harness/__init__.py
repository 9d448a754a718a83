"""Run a probe inside its own process."""

"""Code that runs inside a probe process."""

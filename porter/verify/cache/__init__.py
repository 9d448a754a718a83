"""On-disk cache of traces and verdicts."""

"""Stand-ins for the vendors' packages: what all vendors share."""

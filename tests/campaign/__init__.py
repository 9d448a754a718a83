"""Faults, many of each: kills, full disks, hostile files, damaged caches (docs/reliability.md)."""

"""Devices that a model tree can run on: real ones, and accelerators simulated on the CPU."""

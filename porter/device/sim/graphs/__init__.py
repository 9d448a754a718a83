"""Lazy graphs with their signatures, and captured graphs."""

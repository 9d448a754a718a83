"""Replacing attributes of torch, and finding the line of user code that called them."""

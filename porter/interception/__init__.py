"""Replace attributes of torch, and find the line of user code that called them."""

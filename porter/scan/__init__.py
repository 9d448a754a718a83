"""Find what an accelerator trips over in PyTorch code, by rules that read it."""

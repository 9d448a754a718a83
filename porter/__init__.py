"""porter: accelerator ports of PyTorch models from pins, patch series and recipes."""

__version__ = "0.1.0"

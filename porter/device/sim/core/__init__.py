"""The simulated machine: tensors on a device, dispatch of ops, transfers, device profiles."""

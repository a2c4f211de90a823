"""Trains the networks of netra; needs PyTorch, which the running platform does not."""

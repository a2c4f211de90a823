"""Published checkpoints become model packages: read without running code, rebuilt as ONNX."""

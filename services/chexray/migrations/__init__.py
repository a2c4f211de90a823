"""The history of the schema `chexray`."""

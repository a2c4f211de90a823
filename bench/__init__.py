"""Measurements with their commands: `python -m bench.<name>` prints one table each."""

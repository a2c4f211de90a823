"""The history of the schema `netra`."""

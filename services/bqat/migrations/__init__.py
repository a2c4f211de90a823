"""The history of the schema `bqat`."""

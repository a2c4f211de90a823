"""The history of the schema `fleet`."""

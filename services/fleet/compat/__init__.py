"""The wire of the original server, translated; it could be deleted."""

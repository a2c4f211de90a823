"""How near chexray comes to a bare loop of decode and network."""

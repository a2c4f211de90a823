"""How soon a killed program of the platform serves again."""

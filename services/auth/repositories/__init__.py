"""Every query of auth, one module per kind of thing; nobody here commits."""

"""Every query of netra: domain objects in, domain objects out."""

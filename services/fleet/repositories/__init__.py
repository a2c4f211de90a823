"""Every query of fleet: domain objects in, domain objects out."""

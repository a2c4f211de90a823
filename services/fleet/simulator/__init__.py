"""Trucks that are not there: they drive, see things, lose the network, and catch up."""

"""Trucks and their devices: alerts, frames, live notices."""

"""Measures scans of biometric datasets, from the folder to the database."""

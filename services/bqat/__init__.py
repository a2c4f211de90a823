"""Biometric datasets in; quality profiles, outliers and a report out."""

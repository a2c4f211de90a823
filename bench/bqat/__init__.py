"""Measures how many samples per second the quality engines assess."""

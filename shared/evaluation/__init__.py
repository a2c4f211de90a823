"""Measures a service's answers on labelled pictures, and reports what was found."""

"""The report of a dataset: one HTML page that needs nothing from anywhere."""

from services.bqat.reporting.order import Subject, report_arrays, report_from, report_order

__all__ = ["Subject", "report_arrays", "report_from", "report_order"]

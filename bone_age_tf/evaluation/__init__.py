"""Metrics in months with their intervals, and the report a reader opens."""

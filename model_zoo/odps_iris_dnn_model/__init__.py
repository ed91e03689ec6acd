"""Iris flowers from a table."""

"""Helpers for models: statistics of columns, and a decorator. These load no TensorFlow."""

"""Records from files: codecs, readers, cutting into tasks, conversion between formats.

Only `tensors.py`, which feeds records to TensorFlow, imports it.
"""

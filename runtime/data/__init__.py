"""Records from files: codecs, readers, cutting into tasks, conversion between formats.

No TensorFlow here except in `tensors.py`, which feeds records to it.
"""

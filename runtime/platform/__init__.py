"""Where a job's processes run: one small interface and its implementations.

A platform starts, ends and watches instances. It makes no decisions.
"""

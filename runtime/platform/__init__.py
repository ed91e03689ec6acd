"""Where the processes of a job run: one small interface and its implementations.

A platform starts, ends and watches instances; it decides nothing.
"""

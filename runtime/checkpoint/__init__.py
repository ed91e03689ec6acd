"""Checkpoints on disk: complete or absent, never half-read.

`folders` names, completes, verifies and prunes them; what stands in them is the business of those who write them.
"""

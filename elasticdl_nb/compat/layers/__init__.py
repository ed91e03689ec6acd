"""Keras layers, under the names of ElasticDL."""

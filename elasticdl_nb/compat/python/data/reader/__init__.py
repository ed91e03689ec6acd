"""Readers that a model module brings, under the names of ElasticDL."""

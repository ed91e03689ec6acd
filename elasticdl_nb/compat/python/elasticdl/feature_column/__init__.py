"""Feature columns, under the names of ElasticDL."""

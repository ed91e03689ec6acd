"""Reading data, under the names of ElasticDL."""

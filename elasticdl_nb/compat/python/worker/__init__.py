"""What models know of workers, under the names of ElasticDL."""

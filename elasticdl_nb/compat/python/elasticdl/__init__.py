"""Names under which ElasticDL users find what is now in elasticdl_nb."""

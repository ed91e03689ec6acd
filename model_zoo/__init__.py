"""Models that come with elasticdl_nb; this folder is a model zoo, its files imported from here as from a root.

`--model_def=regressor.DNN` is `regressor/__init__.py`. See README.md.
"""

"""Models that come with elasticdl_nb. This folder is a model zoo, so its files import each other as from a root.

`--model_def=regressor.DNN` is `regressor/__init__.py`. See README.md.
"""

"""Models that come with elasticdl_nb. This folder is a model zoo: `--model_def=regressor.DNN` is `regressor/__init__.py`."""

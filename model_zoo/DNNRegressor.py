"""`TRAIN DNNRegressor`: a dense network that predicts a number from the columns of a table."""

from regressor import DNN


class DNNRegressor(DNN):
    """Takes hidden_units, learning_rate, features (names of columns; all by default) and label (a column's name)."""

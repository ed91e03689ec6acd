"""Feature columns that `tf.feature_column` does not have."""

"""FeatureSpace on a dataset."""

import keras
import numpy as np
import tensorflow as tf
from keras.utils import FeatureSpace

random = np.random.default_rng(0)
n = 64
raw = {
    "age": random.integers(30, 80, n).astype("float32"),
    "thal": np.array(["fixed", "normal", "reversible"], object)[random.integers(0, 3, n)],
    "cp": random.integers(0, 5, n),
}
target = (raw["age"] > 55).astype("int32")
dataset = tf.data.Dataset.from_tensor_slices((raw, target)).batch(16)
feature_space = FeatureSpace(
    features={
        "age": FeatureSpace.float_discretized(num_bins=5),
        "thal": FeatureSpace.string_categorical(num_oov_indices=0),
        "cp": FeatureSpace.integer_categorical(num_oov_indices=0),
    },
    crosses=[FeatureSpace.cross(feature_names=("thal", "cp"), crossing_dim=8)],
    output_mode="concat",
)
feature_space.adapt(dataset.map(lambda x, _: x))
data = dataset.map(lambda x, y: (feature_space(x), y))
encoded = feature_space.get_encoded_features()
hidden = keras.layers.Dense(32, activation="relu")(encoded)
model = keras.Model(encoded, keras.layers.Dense(1, activation="sigmoid")(hidden))
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

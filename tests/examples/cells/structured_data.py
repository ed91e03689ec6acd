"""Heart disease: lookups and normalization as layers."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

random = np.random.default_rng(0)
n = 64
x = {
    "age": random.integers(30, 80, (n, 1)).astype("float32"),
    "thal": tf.constant(np.array(["fixed", "normal", "reversible"])[random.integers(0, 3, (n, 1))]),
    "cp": random.integers(0, 5, (n, 1)),
}
y = (x["age"][:, 0] > 55).astype("int32")


def number(input, values):
    normalizer = layers.Normalization()
    normalizer.adapt(values)
    return normalizer(input)


def category(input, values, is_string):
    kind = layers.StringLookup if is_string else layers.IntegerLookup
    lookup = kind(output_mode="one_hot")
    lookup.adapt(values)
    return lookup(input)


inputs = {
    "age": keras.Input((1,), name="age"),
    "thal": keras.Input((1,), dtype="string", name="thal"),
    "cp": keras.Input((1,), dtype="int64", name="cp"),
}
encoded = layers.concatenate(
    [
        number(inputs["age"], x["age"]),
        category(inputs["thal"], x["thal"], True),
        category(inputs["cp"], x["cp"], False),
    ]
)
hidden = layers.Dropout(0.5, seed=3)(layers.Dense(32, activation="relu")(encoded))
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
model.compile("adam", "binary_crossentropy", metrics=["accuracy"])

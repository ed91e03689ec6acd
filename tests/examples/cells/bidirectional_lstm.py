"""Bidirectional LSTM on padded ids."""

import keras
import numpy as np
from keras import layers

max_features, maxlen = 50, 10
random = np.random.default_rng(0)
x = [list(random.integers(1, max_features, random.integers(2, 15))) for _ in range(64)]
x = keras.utils.pad_sequences(x, maxlen=maxlen)
y = random.integers(0, 2, 64)
inputs = keras.Input(shape=(None,), dtype="int32")
hidden = layers.Embedding(max_features, 8, mask_zero=True)(inputs)
hidden = layers.Bidirectional(layers.LSTM(8, return_sequences=True))(hidden)
hidden = layers.Bidirectional(layers.LSTM(8))(hidden)
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
model.compile(optimizer="adam", loss="binary_crossentropy", metrics=["accuracy"])

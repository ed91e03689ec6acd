"""Fraud with weights of classes."""

import keras
import numpy as np

random = np.random.default_rng(0)
x = random.normal(size=(64, 5)).astype("float32")
x = (x - x.mean(axis=0)) / x.std(axis=0)
y = (random.random((64, 1)) < 0.1).astype("uint8")
counts = np.bincount(y[:, 0])
model = keras.Sequential(
    [
        keras.Input(shape=x.shape[1:]),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dropout(0.3),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-2),
    loss="binary_crossentropy",
    metrics=[
        keras.metrics.FalseNegatives(name="fn"),
        keras.metrics.TruePositives(name="tp"),
        keras.metrics.Precision(name="precision"),
        keras.metrics.Recall(name="recall"),
    ],
)
options = {"class_weight": {0: 1.0 / float(counts[0]), 1: 1.0 / float(counts[1])}}

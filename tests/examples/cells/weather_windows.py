"""Weather: windows of a time series."""

import keras
import numpy as np

series = np.random.default_rng(0).normal(size=(200, 3)).astype("float32")
series = (series - series.mean(axis=0)) / series.std(axis=0)
data = keras.preprocessing.timeseries_dataset_from_array(
    series[:-10], series[10:, 1:2], sequence_length=10, sampling_rate=2, batch_size=16
)
for batch in data.take(1):
    inputs, targets = batch
inputs = keras.layers.Input(shape=(inputs.shape[1], inputs.shape[2]))
model = keras.Model(inputs=inputs, outputs=keras.layers.Dense(1)(keras.layers.LSTM(8)(inputs)))
model.compile(optimizer=keras.optimizers.Adam(learning_rate=0.001), loss="mse")

"""Gated residual and variable selection."""

import keras
import numpy as np
from keras import layers, ops


class GatedLinearUnit(layers.Layer):
    def __init__(self, units):
        super().__init__()
        self.linear = layers.Dense(units)
        self.sigmoid = layers.Dense(units, activation="sigmoid")

    def call(self, inputs):
        return self.linear(inputs) * self.sigmoid(inputs)


class GatedResidualNetwork(layers.Layer):
    def __init__(self, units, dropout_rate):
        super().__init__()
        self.units = units
        self.elu_dense = layers.Dense(units, activation="elu")
        self.linear_dense = layers.Dense(units)
        self.dropout = layers.Dropout(dropout_rate)
        self.gated_linear_unit = GatedLinearUnit(units)
        self.layer_norm = layers.LayerNormalization()
        self.project = layers.Dense(units)

    def call(self, inputs):
        x = self.dropout(self.linear_dense(self.elu_dense(inputs)))
        if inputs.shape[-1] != self.units:
            inputs = self.project(inputs)
        return self.layer_norm(inputs + self.gated_linear_unit(x))


class VariableSelection(layers.Layer):
    def __init__(self, num_features, units, dropout_rate):
        super().__init__()
        self.grns = [GatedResidualNetwork(units, dropout_rate) for _ in range(num_features)]
        self.grn_concat = GatedResidualNetwork(units, dropout_rate)
        self.softmax = layers.Dense(units=num_features, activation="softmax")

    def call(self, inputs):
        v = ops.expand_dims(self.softmax(self.grn_concat(layers.concatenate(inputs))), axis=-1)
        x = ops.stack([grn(value) for grn, value in zip(self.grns, inputs, strict=True)], axis=1)
        return ops.squeeze(ops.matmul(ops.transpose(v, axes=[0, 2, 1]), x), axis=1)


random = np.random.default_rng(0)
x = {"age": random.normal(size=(64, 1)).astype("float32"), "wage": random.normal(size=(64, 1)).astype("float32")}
y = (x["age"] > 0).astype("float32")
inputs = {name: layers.Input((1,), name=name) for name in x}
values = [layers.Dense(8)(value) for value in inputs.values()]
outputs = layers.Dense(1, activation="sigmoid")(VariableSelection(2, 8, 0.15)(values))
model = keras.Model(inputs, outputs)
model.compile(
    keras.optimizers.Adam(0.001),
    keras.losses.BinaryCrossentropy(),
    metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
)

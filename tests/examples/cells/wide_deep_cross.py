"""Wide, deep and cross."""

import keras
import numpy as np
from keras import layers

random = np.random.default_rng(0)
n, NUMBERS, CATEGORIES = 64, ["elevation", "slope"], {"area": ["a", "b"], "soil": ["clay", "loam", "sand"]}
x = {name: random.normal(size=n).astype("float32") for name in NUMBERS}
x.update({name: random.choice(np.array(terms, object), n) for name, terms in CATEGORIES.items()})
y = random.integers(0, 3, n)


def create_inputs():
    return {name: layers.Input((), name=name, dtype="float32" if name in NUMBERS else "string") for name in x}


def encode(inputs, use_embedding=False):
    encoded = []
    for name, value in inputs.items():
        if name in CATEGORIES:
            lookup = layers.StringLookup(
                vocabulary=CATEGORIES[name], num_oov_indices=0, output_mode="int" if use_embedding else "one_hot"
            )
            value = lookup(value)
            if use_embedding:
                value = layers.Embedding(len(CATEGORIES[name]), 4)(value)
        else:
            value = layers.Reshape((1,))(value)
        encoded.append(value)
    return layers.concatenate(encoded)


inputs = create_inputs()
x0 = encode(inputs, use_embedding=True)
cross = x0
for _ in range(2):
    cross = x0 * layers.Dense(x0.shape[-1])(cross) + cross
cross = layers.BatchNormalization()(cross)
deep = encode(inputs)
for units in (16, 16):
    deep = layers.Dense(units)(deep)
    deep = layers.ReLU()(layers.BatchNormalization()(deep))
model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.concatenate([cross, deep])))
model.compile(
    keras.optimizers.Adam(0.01),
    keras.losses.SparseCategoricalCrossentropy(),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
)

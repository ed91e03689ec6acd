"""TabTransformer."""

import keras
import numpy as np
from keras import layers, ops

random = np.random.default_rng(0)
n = 64
VOCABULARY = {"work": ["private", "state"], "education": ["school", "college", "master"], "sex": ["f", "m"]}
x = {name: random.choice(np.array(terms, object), n) for name, terms in VOCABULARY.items()}
x["age"] = random.normal(size=n).astype("float32")
y = (x["age"] > 0).astype("float32")[:, None]

inputs = {name: layers.Input((), name=name, dtype="string" if name in VOCABULARY else "float32") for name in x}
embedded = []
for name, terms in VOCABULARY.items():
    index = layers.StringLookup(vocabulary=terms, num_oov_indices=0, output_mode="int")(inputs[name])
    embedded.append(layers.Embedding(len(terms), 8)(index))
tokens = ops.stack(embedded, axis=1)
tokens = tokens + layers.Embedding(3, 8)(ops.arange(start=0, stop=3, step=1))
for _ in range(2):
    attention = layers.MultiHeadAttention(num_heads=2, key_dim=8, dropout=0.1)(tokens, tokens)
    tokens = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([attention, tokens]))
    forward = keras.Sequential([layers.Dense(8, activation=keras.activations.gelu), layers.Dropout(0.1)])(tokens)
    tokens = layers.LayerNormalization(epsilon=1e-6)(layers.Add()([forward, tokens]))
numeric = layers.LayerNormalization(epsilon=1e-6)(ops.expand_dims(inputs["age"], -1))
features = layers.concatenate([layers.Flatten()(tokens), numeric])
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(layers.Dense(16, "selu")(features)))
model.compile(
    keras.optimizers.AdamW(learning_rate=0.001, weight_decay=0.0001),
    keras.losses.BinaryCrossentropy(),
    metrics=[keras.metrics.BinaryAccuracy(name="accuracy")],
)

"""Behaviour sequence transformer."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

random = np.random.default_rng(0)
n, LENGTH = 64, 4
MOVIES = [f"movie_{number}" for number in range(12)]
movies = np.array(MOVIES)
x = {
    "user_id": random.choice(np.array(["u1", "u2", "u3"], object), n),
    "sequence_movie_ids": tf.constant(movies[random.integers(0, 12, (n, LENGTH - 1))]),
    "target_movie_id": tf.constant(movies[random.integers(0, 12, n)]),
    "sequence_ratings": random.integers(1, 6, (n, LENGTH - 1)).astype("float32"),
}
y = random.integers(1, 6, n).astype("float32")
inputs = {
    "user_id": keras.Input((1,), name="user_id", dtype="string"),
    "sequence_movie_ids": keras.Input((LENGTH - 1,), name="sequence_movie_ids", dtype="string"),
    "target_movie_id": keras.Input((1,), name="target_movie_id", dtype="string"),
    "sequence_ratings": keras.Input((LENGTH - 1,), name="sequence_ratings"),
}
lookup = layers.StringLookup(vocabulary=MOVIES, mask_token=None, num_oov_indices=0)
embed = layers.Embedding(len(MOVIES), 8, name="movie_embedding")
sequence = embed(lookup(inputs["sequence_movie_ids"]))
positions = layers.Embedding(LENGTH, 8, name="position_embedding")(ops.arange(start=0, stop=LENGTH - 1, step=1))
sequence = (sequence + positions) * ops.expand_dims(inputs["sequence_ratings"], -1)
target = embed(lookup(inputs["target_movie_id"]))
tokens = layers.Concatenate(axis=1)([sequence, target])
attention = layers.MultiHeadAttention(num_heads=2, key_dim=8, dropout=0.1)(tokens, tokens)
tokens = layers.LayerNormalization()(layers.Add()([tokens, layers.Dropout(0.1)(attention)]))
user = layers.Embedding(3, 2)(
    layers.StringLookup(vocabulary=["u1", "u2", "u3"], mask_token=None, num_oov_indices=0)(inputs["user_id"])
)
features = layers.concatenate([layers.Flatten()(tokens), layers.Flatten()(user)])
hidden = layers.LeakyReLU()(layers.BatchNormalization()(layers.Dense(16)(features)))
model = keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.1)(hidden)))
model.compile(
    keras.optimizers.Adagrad(learning_rate=0.01),
    keras.losses.MeanSquaredError(),
    metrics=[keras.metrics.MeanAbsoluteError()],
)

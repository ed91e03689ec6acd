"""Memory-efficient embeddings."""

import keras
import numpy as np
from keras import layers, ops


class QREmbedding(layers.Layer):
    def __init__(self, vocabulary, embedding_dim, num_buckets, name=None):
        super().__init__(name=name)
        self.num_buckets = num_buckets
        self.index_lookup = layers.StringLookup(vocabulary=vocabulary, mask_token=None, num_oov_indices=0)
        self.q_embeddings = layers.Embedding(num_buckets, embedding_dim)
        self.r_embeddings = layers.Embedding(num_buckets, embedding_dim)

    def call(self, inputs):
        index = self.index_lookup(inputs)
        quotient, remainder = ops.floor_divide(index, self.num_buckets), ops.mod(index, self.num_buckets)
        return self.q_embeddings(quotient) * self.r_embeddings(remainder)


random = np.random.default_rng(0)
USERS, MOVIES = [f"user_{n}" for n in range(16)], [f"movie_{n}" for n in range(9)]
x = {"user_id": random.choice(np.array(USERS, object), 64), "movie_id": random.choice(np.array(MOVIES, object), 64)}
y = random.random(64).astype("float32")
user_input, movie_input = (layers.Input((), name=name, dtype="string") for name in x)
users = QREmbedding(USERS, 8, 4, name="user_embedding")(user_input)
movies = QREmbedding(MOVIES, 8, 3, name="movie_embedding")(movie_input)
outputs = keras.activations.sigmoid(layers.Dot(axes=1)([users, movies])) * 4
model = keras.Model({"user_id": user_input, "movie_id": movie_input}, outputs)
model.compile(
    keras.optimizers.Adam(1e-3), keras.losses.MeanSquaredError(), metrics=[keras.metrics.MeanAbsoluteError(name="mae")]
)

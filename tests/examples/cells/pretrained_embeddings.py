"""Pretrained, frozen embeddings."""

import keras
import numpy as np
from keras import layers

random = np.random.default_rng(0)
embedding_matrix = random.normal(size=(40, 6))
embedding_layer = layers.Embedding(40, 6, trainable=False)
embedding_layer.build((1,))
embedding_layer.set_weights([embedding_matrix])
x, y = random.integers(0, 40, (64, 12)), random.integers(0, 4, 64)
int_sequences_input = keras.Input(shape=(None,), dtype="int32")
hidden = embedding_layer(int_sequences_input)
hidden = layers.Conv1D(16, 3, activation="relu")(hidden)
hidden = layers.MaxPooling1D(2)(hidden)
hidden = layers.GlobalMaxPooling1D()(layers.Conv1D(16, 3, activation="relu")(hidden))
outputs = layers.Dense(4, activation="softmax")(layers.Dropout(0.5)(layers.Dense(16, activation="relu")(hidden)))
model = keras.Model(int_sequences_input, outputs)
model.compile(loss="sparse_categorical_crossentropy", optimizer="rmsprop", metrics=["acc"])

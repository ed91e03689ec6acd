"""Text classification from raw strings."""

import re
import string

import keras
import numpy as np
import tensorflow as tf
from keras import layers


def custom_standardization(input_data):
    lowercase = tf.strings.lower(input_data)
    stripped = tf.strings.regex_replace(lowercase, "<br />", " ")
    return tf.strings.regex_replace(stripped, f"[{re.escape(string.punctuation)}]", "")


random = np.random.default_rng(0)
words = np.array(["a", "good", "film", "that", "was", "<br", "/>bad,", "or", "so", "they", "say!"], object)
x = tf.constant([[" ".join(random.choice(words, 8))] for _ in range(64)])
y = random.integers(0, 2, 64)
vectorize_layer = layers.TextVectorization(
    standardize=custom_standardization, max_tokens=50, output_mode="int", output_sequence_length=12
)
vectorize_layer.adapt(x[:, 0])
text_input = keras.Input(shape=(1,), dtype="string", name="text")
hidden = layers.Embedding(50, 8)(vectorize_layer(text_input))
hidden = layers.Dropout(0.5)(hidden)
hidden = layers.Conv1D(16, 3, padding="valid", activation="relu", strides=2)(hidden)
hidden = layers.GlobalMaxPooling1D()(hidden)
model = keras.Model(text_input, layers.Dense(1, activation="sigmoid", name="predictions")(hidden))
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])

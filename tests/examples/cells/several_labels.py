"""Several labels, tf-idf."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

random = np.random.default_rng(0)
words = np.array(["graph", "neural", "vision", "language", "model", "proof"], object)
texts = np.array([" ".join(random.choice(words, 5)) for _ in range(64)], object)
terms = [list(random.choice(["cs", "math", "stat"], random.integers(1, 3), replace=False)) for _ in range(64)]
lookup = layers.StringLookup(output_mode="multi_hot", vocabulary=["cs", "math", "stat"])
labels = np.stack([np.asarray(lookup(tf.constant(row))) for row in terms])
text_vectorizer = layers.TextVectorization(max_tokens=20, ngrams=2, output_mode="tf_idf")
text_vectorizer.adapt(texts)
data = (
    tf.data.Dataset.from_tensor_slices((texts, labels))
    .batch(16)
    .map(lambda text, label: (text_vectorizer(text), label))
)
model = keras.Sequential(
    [
        layers.Dense(32, activation="relu"),
        layers.Dense(16, activation="relu"),
        layers.Dense(lookup.vocabulary_size(), activation="sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["binary_accuracy"])

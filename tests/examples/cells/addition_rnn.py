"""Learning to add, sequence to sequence."""

import keras
import numpy as np
from keras import layers


class CharacterTable:
    def __init__(self, chars):
        self.chars = sorted(set(chars))
        self.char_indices = {c: i for i, c in enumerate(self.chars)}

    def encode(self, text, num_rows):
        x = np.zeros((num_rows, len(self.chars)))
        for i, c in enumerate(text):
            x[i, self.char_indices[c]] = 1
        return x


ctable = CharacterTable("0123456789+ ")
random = np.random.default_rng(0)
pairs = random.integers(0, 99, (64, 2))
x = np.array([ctable.encode(f"{a}+{b}".ljust(5)[::-1], 5) for a, b in pairs], dtype=bool)
y = np.array([ctable.encode(f"{a + b}".ljust(3), 3) for a, b in pairs], dtype=bool)
model = keras.Sequential()
model.add(layers.Input((5, 12)))
model.add(layers.LSTM(16))
model.add(layers.RepeatVector(3))
model.add(layers.LSTM(16, return_sequences=True))
model.add(layers.Dense(12, activation="softmax"))
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

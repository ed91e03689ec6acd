"""The model's side of a table: Keras layers that combine the features into one tensor, and the model on top of them.

Stored models' weights are found by names that Keras derives from these classes' names, which must not change.
"""

import keras

from elasticdl_nb.tables.featurerecord import Number


class Places:
    """Where the tensors of each feature are, for both the input that makes them and the layers that take them."""

    def __init__(self, features):
        self.numbers, self.single, self.several = [], [], []
        self.offsets = {}
        width = 0
        for target, listed in features.items():
            for place, feature in enumerate(listed):
                key = (target, place)
                if isinstance(feature, Number):
                    self.offsets[key] = width
                    width += feature.size
                    self.numbers.append(feature)
                elif feature.source.delimiter:
                    self.offsets[key] = len(self.several)
                    self.several.append((len(self.several), feature))
                else:
                    self.offsets[key] = len(self.single)
                    self.single.append(feature)


class Features(keras.layers.Layer):
    """The features of one of the model's inputs, side by side: a tensor [n, width]."""

    def __init__(self, places, features, target):
        super().__init__()
        self.parts = []
        for number, feature in enumerate(features):
            layer = None
            if not isinstance(feature, Number) and feature.output == "embedding":
                layer = keras.layers.Embedding(feature.size, feature.dimension)
                layer.table_options = feature.options
            self.parts.append((feature, places.offsets[target, number], layer))
        self.embeddings = [layer for _, _, layer in self.parts if layer is not None]

    def call(self, inputs):
        """Take the tensors that `TableInput` makes."""
        return keras.ops.concatenate([self._one(inputs, *part) for part in self.parts], axis=1)

    def _one(self, inputs, feature, offset, layer):
        if isinstance(feature, Number):
            return inputs["numbers"][:, offset : offset + feature.size]
        if feature.source.delimiter:
            return self._several(inputs[f"ids_{offset}"], inputs[f"weights_{offset}"], feature, layer)
        ids = inputs["ids"][:, offset]
        return keras.ops.one_hot(ids, feature.size) if layer is None else layer(ids)

    def _several(self, ids, weights, feature, layer):
        some = keras.ops.maximum(ids, 0)
        vectors = keras.ops.one_hot(some, feature.size) if layer is None else layer(some)
        total = keras.ops.sum(vectors * weights[:, :, None], axis=1)
        if feature.combiner == "sum":
            return total
        squares = keras.ops.sum(weights**2 if feature.combiner == "sqrtn" else keras.ops.abs(weights), axis=1)
        norm = keras.ops.sqrt(squares) if feature.combiner == "sqrtn" else squares
        return total / keras.ops.maximum(norm, 1e-9)[:, None]


class FeatureModel(keras.Model):
    """A model on top of the features: it gets one tensor [n, width], or {input: tensor} if it has several inputs.

    `scale` is the label's mean and deviation if the model predicts a number, so the model need not learn them.
    """

    def __init__(self, model, features, scale, **named):
        super().__init__(**named)
        self.scale = scale
        places = Places(features)
        self.targets = list(features)
        self.columns = [Features(places, listed, target) for target, listed in features.items()]
        self.model = model

    def call(self, inputs):
        """Return the model's outputs."""
        return self.outputs(self.features(inputs))

    def features(self, inputs):
        """Return the features [n, width] for each of the model's inputs."""
        return [layer(inputs) for layer in self.columns]

    def outputs(self, features):
        """Return the model's outputs for the features."""
        outputs = self.model(features[0] if self.targets == [""] else dict(zip(self.targets, features, strict=True)))
        return outputs if self.scale is None else outputs * self.scale[1] + self.scale[0]

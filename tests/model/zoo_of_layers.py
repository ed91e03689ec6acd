"""A model zoo with every layer of Keras, each a branch of the model of its kind of input.

The test that copies it puts the folder of the files that it reads in place of FOLDER.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as k

Branch = Callable[[Any], Any]

VALUES = np.load("FOLDER/values.npy")
WORDS = open("FOLDER/words.txt").read().split("\n")  # noqa: SIM115  as users write
SCALE = float(np.load("FOLDER/values.npy").std())


def adapted(layer: Any, values: Any) -> Any:
    """A layer that has seen what a file holds."""
    layer.adapt(values)
    return layer


def ids() -> np.ndarray:
    """Numbers that the file holds."""
    return np.unique((np.load("FOLDER/values.npy") * 3).astype("int64"))


def twice(layer: Any) -> Branch:
    """A layer that takes two inputs."""
    return lambda x: layer([x, x])


def states(cell: Any) -> Branch:
    """A cell of a recurrent layer."""
    return k.RNN(cell)


VECTORS: dict[str, Callable[[], Branch]] = {
    "Activation": lambda: k.Activation("tanh"),
    "ActivityRegularization": lambda: k.ActivityRegularization(l2=0.01),
    "Add": lambda: twice(k.Add()),
    "AlphaDropout": lambda: k.AlphaDropout(0.2),
    "Average": lambda: twice(k.Average()),
    "BatchNormalization": lambda: k.BatchNormalization(),
    "Concatenate": lambda: twice(k.Concatenate()),
    "Dense": lambda: k.Dense(3),
    "Discretization": lambda: adapted(k.Discretization(num_bins=3, output_mode="one_hot"), VALUES),
    "Dot": lambda: twice(k.Dot(1)),
    "Dropout": lambda: k.Dropout(0.2),
    "ELU": lambda: k.ELU(),
    "EinsumDense": lambda: k.EinsumDense("ab,bc->ac", 3),
    "Flatten": lambda: k.Flatten(),
    "GaussianDropout": lambda: k.GaussianDropout(0.2),
    "GaussianNoise": lambda: k.GaussianNoise(0.1),
    "GroupNormalization": lambda: k.GroupNormalization(2),
    "Identity": lambda: k.Identity(),
    "InputLayer": lambda: k.Identity(),  # the model's inputs are such layers
    "LayerNormalization": lambda: k.LayerNormalization(),
    "LeakyReLU": lambda: k.LeakyReLU(),
    "Maximum": lambda: twice(k.Maximum()),
    "Minimum": lambda: twice(k.Minimum()),
    "Multiply": lambda: twice(k.Multiply()),
    "Normalization": lambda: adapted(k.Normalization(), np.load("FOLDER/values.npy")),
    "PReLU": lambda: k.PReLU(),
    "Pipeline": lambda: k.Pipeline([k.Rescaling(2.0), adapted(k.Normalization(), VALUES)]),
    "RMSNormalization": lambda: k.RMSNormalization(),
    "ReLU": lambda: k.ReLU(),
    "RepeatVector": lambda: k.RepeatVector(2),
    "Rescaling": lambda: k.Rescaling(SCALE),
    "Reshape": lambda: k.Reshape((2, 2)),
    "Softmax": lambda: k.Softmax(),
    "SpectralNormalization": lambda: k.SpectralNormalization(k.Dense(3)),
    "Subtract": lambda: lambda x: k.Subtract()([x, k.Rescaling(2.0)(x)]),
    "UnitNormalization": lambda: k.UnitNormalization(),
}
SEQUENCES: dict[str, Callable[[], Branch]] = {
    "AdaptiveAveragePooling1D": lambda: k.AdaptiveAveragePooling1D(2),
    "AdaptiveMaxPooling1D": lambda: k.AdaptiveMaxPooling1D(2),
    "AdditiveAttention": lambda: twice(k.AdditiveAttention()),
    "Attention": lambda: twice(k.Attention()),
    "AveragePooling1D": lambda: k.AveragePooling1D(2),
    "Bidirectional": lambda: k.Bidirectional(k.LSTM(2)),
    "Conv1D": lambda: k.Conv1D(2, 3),
    "Conv1DTranspose": lambda: k.Conv1DTranspose(2, 3),
    "Cropping1D": lambda: k.Cropping1D(1),
    "DepthwiseConv1D": lambda: k.DepthwiseConv1D(3),
    "GRU": lambda: k.GRU(2),
    "GRUCell": lambda: states(k.GRUCell(2)),
    "GlobalAveragePooling1D": lambda: k.GlobalAveragePooling1D(),
    "GlobalMaxPooling1D": lambda: k.GlobalMaxPooling1D(),
    "GroupedQueryAttention": lambda: lambda x: k.GroupQueryAttention(2, 2, 1)(x, x),
    "LSTM": lambda: k.LSTM(2),
    "LSTMCell": lambda: states(k.LSTMCell(2)),
    "Masking": lambda: lambda x: k.SimpleRNN(2)(k.Masking()(x)),
    "MaxPooling1D": lambda: k.MaxPooling1D(2),
    "MultiHeadAttention": lambda: lambda x: k.MultiHeadAttention(2, 2)(x, x),
    "Permute": lambda: k.Permute((2, 1)),
    "RNN": lambda: k.RNN([k.GRUCell(2), k.LSTMCell(2)]),
    "SeparableConv1D": lambda: k.SeparableConv1D(2, 3),
    "SimpleRNN": lambda: k.SimpleRNN(2),
    "SimpleRNNCell": lambda: states(k.SimpleRNNCell(2)),
    "SpatialDropout1D": lambda: k.SpatialDropout1D(0.2),
    "StackedRNNCells": lambda: states(k.StackedRNNCells([k.LSTMCell(2), k.GRUCell(2)])),
    "TimeDistributed": lambda: k.TimeDistributed(k.Dense(2)),
    "UpSampling1D": lambda: k.UpSampling1D(2),
    "ZeroPadding1D": lambda: k.ZeroPadding1D(1),
}
IMAGES: dict[str, Callable[[], Branch]] = {
    "AdaptiveAveragePooling2D": lambda: k.AdaptiveAveragePooling2D(2),
    "AdaptiveMaxPooling2D": lambda: k.AdaptiveMaxPooling2D(2),
    "AveragePooling2D": lambda: k.AveragePooling2D(2),
    "CenterCrop": lambda: k.CenterCrop(4, 4),
    "Conv2D": lambda: k.Conv2D(2, 3),
    "Conv2DTranspose": lambda: k.Conv2DTranspose(2, 3),
    "ConvLSTM1D": lambda: k.ConvLSTM1D(2, 3),
    "Cropping2D": lambda: k.Cropping2D(1),
    "DepthwiseConv2D": lambda: k.DepthwiseConv2D(3),
    "GlobalAveragePooling2D": lambda: k.GlobalAveragePooling2D(),
    "GlobalMaxPooling2D": lambda: k.GlobalMaxPooling2D(),
    "MaxPooling2D": lambda: k.MaxPooling2D(2),
    "Resizing": lambda: k.Resizing(4, 4),
    "SeparableConv2D": lambda: k.SeparableConv2D(2, 3),
    "SpatialDropout2D": lambda: k.SpatialDropout2D(0.2),
    "UpSampling2D": lambda: k.UpSampling2D(2),
    "ZeroPadding2D": lambda: k.ZeroPadding2D(1),
    "AutoContrast": lambda: k.AutoContrast(value_range=(0, 1)),
    "AugMix": lambda: k.AugMix(value_range=(0, 1)),
    "ContrastLimitedAdaptiveHistogramEqualization": lambda: k.ContrastLimitedAdaptiveHistogramEqualization(
        value_range=(0, 1), tile_grid_size=(2, 2)
    ),
    "CutMix": lambda: k.CutMix(),
    "Equalization": lambda: k.Equalization(value_range=(0, 1)),
    "MixUp": lambda: k.MixUp(),
    "RandAugment": lambda: k.RandAugment(value_range=(0, 1)),
    "RandomBrightness": lambda: k.RandomBrightness(0.2, value_range=(0, 1)),
    "RandomColorDegeneration": lambda: k.RandomColorDegeneration(0.5, value_range=(0, 1)),
    "RandomColorJitter": lambda: k.RandomColorJitter(value_range=(0, 1), brightness_factor=0.2),
    "RandomContrast": lambda: k.RandomContrast(0.2, value_range=(0, 1)),
    "RandomCrop": lambda: lambda x: k.Resizing(4, 4)(k.RandomCrop(4, 4)(x)),  # crops in training only
    "RandomElasticTransform": lambda: k.RandomElasticTransform(value_range=(0, 1)),
    "RandomErasing": lambda: k.RandomErasing(value_range=(0, 1)),
    "RandomFlip": lambda: k.RandomFlip(),
    "RandomGaussianBlur": lambda: k.RandomGaussianBlur(value_range=(0, 1)),
    "RandomGrayscale": lambda: k.RandomGrayscale(0.5),
    "RandomHue": lambda: k.RandomHue(0.2, value_range=(0, 1)),
    "RandomInvert": lambda: k.RandomInvert(value_range=(0, 1)),
    "RandomPerspective": lambda: k.RandomPerspective(),
    "RandomPosterization": lambda: k.RandomPosterization(4, value_range=(0, 1)),
    "RandomRotation": lambda: k.RandomRotation(0.2),
    "RandomSaturation": lambda: k.RandomSaturation(0.2, value_range=(0, 1)),
    "RandomSharpness": lambda: k.RandomSharpness(0.2, value_range=(0, 1)),
    "RandomShear": lambda: k.RandomShear(0.2, 0.2),
    "RandomTranslation": lambda: k.RandomTranslation(0.2, 0.2),
    "RandomZoom": lambda: k.RandomZoom(0.2),
    "Solarization": lambda: k.Solarization(value_range=(0, 1)),
}
VOLUMES: dict[str, Callable[[], Branch]] = {
    "AdaptiveAveragePooling3D": lambda: k.AdaptiveAveragePooling3D(2),
    "AdaptiveMaxPooling3D": lambda: k.AdaptiveMaxPooling3D(2),
    "AveragePooling3D": lambda: k.AveragePooling3D(2),
    "Conv3D": lambda: k.Conv3D(2, 2),
    "Conv3DTranspose": lambda: k.Conv3DTranspose(2, 2),
    "ConvLSTM2D": lambda: k.ConvLSTM2D(2, 2),
    "ConvLSTM3D": lambda: lambda x: k.ConvLSTM3D(2, 2)(k.Reshape((2, 2, 4, 4, 2))(x)),
    "Cropping3D": lambda: k.Cropping3D(1),
    "GlobalAveragePooling3D": lambda: k.GlobalAveragePooling3D(),
    "GlobalMaxPooling3D": lambda: k.GlobalMaxPooling3D(),
    "MaxPooling3D": lambda: k.MaxPooling3D(2),
    "SpatialDropout3D": lambda: k.SpatialDropout3D(0.2),
    "UpSampling3D": lambda: k.UpSampling3D(2),
    "ZeroPadding3D": lambda: k.ZeroPadding3D(1),
}
NUMBERS: dict[str, Callable[[], Branch]] = {
    "CategoryEncoding": lambda: k.CategoryEncoding(10, output_mode="multi_hot"),
    "Embedding": lambda: k.Embedding(10, 2),
    "HashedCrossing": lambda: lambda x: k.HashedCrossing(5, output_mode="one_hot")((x[:, :1], x[:, 1:2])),
    "Hashing": lambda: k.Hashing(4, output_mode="multi_hot", salt=7),
    "IntegerLookup": lambda: adapted(k.IntegerLookup(output_mode="count"), ids()),
    "ReversibleEmbedding": lambda: k.ReversibleEmbedding(10, 2),
}
STRINGS: dict[str, Callable[[], Branch]] = {
    "StringLookup": lambda: adapted(k.StringLookup(output_mode="tf_idf"), np.array(WORDS)[:, None]),
    "TextVectorization": lambda: lambda x: adapted(k.TextVectorization(output_mode="count"), WORDS)(x[:, :1]),
}
WAVES: dict[str, Callable[[], Branch]] = {
    "MelSpectrogram": lambda: k.MelSpectrogram(8, 4, num_mel_bins=3, min_freq=0, max_freq=4, sampling_rate=8),
    "STFTSpectrogram": lambda: lambda x: k.STFTSpectrogram(frame_length=8, frame_step=4, fft_length=8)(x[..., None]),
}
KINDS: dict[str, tuple[tuple[int, ...], str, dict[str, Callable[[], Branch]]]] = {
    "vectors": ((4,), "float32", VECTORS),
    "sequences": ((6, 3), "float32", SEQUENCES),
    "images": ((8, 8, 3), "float32", IMAGES),
    "volumes": ((4, 4, 4, 2), "float32", VOLUMES),
    "numbers": ((3,), "int64", NUMBERS),
    "strings": ((2,), "string", STRINGS),
    "waves": ((32,), "float32", WAVES),
}
ABSTRACT = {
    "Layer": "the base of all", "Wrapper": "the base of SpectralNormalization and others",
    "Lambda": "its code is part of the module, which is tried elsewhere",
    "MaxNumBoundingBoxes": "works on labels, in a data pipeline",
    "FlaxLayer": "of another backend", "JaxLayer": "of another backend", "TorchModuleWrapper": "of another backend",
    "TFSMLayer": "reads a SavedModel, and has no configuration without it",
}  # fmt: skip
"""Layers without a recipe, and why."""


def custom_model(kind: str = "vectors") -> keras.Model:
    """All layers for a kind of input, side by side."""
    shape, dtype, branches = KINDS[kind]
    inputs = keras.Input(shape, dtype=dtype, name="x")
    outputs = []
    for make in branches.values():
        value = make()(inputs)
        if keras.backend.standardize_dtype(value.dtype) != "float32":
            value = keras.ops.cast(value, "float32")
        outputs.append(keras.layers.Flatten()(value))
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Concatenate()(outputs)))


def input_fn(record: Any) -> Any:
    """Features and label of a record."""
    return record["x"], record["y"]


loss = "mse"


def optimizer() -> keras.optimizers.Optimizer:
    """What `fit` is given as well."""
    return keras.optimizers.SGD(2e-5)

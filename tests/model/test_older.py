"""What Keras 3 dropped works again in a process that loads zoos, and trains, saves and exports like the rest."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.older.installing import install

install()
K = tf.keras.backend
RNG = np.random.default_rng(5)
X = tf.constant(RNG.normal(size=(4, 6)).astype(np.float32))
TEXTS = tf.constant([["a b"], ["c"], [""], ["d e f"]])

ON_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "reduce": lambda x: tf.reduce_sum(x, 1, keepdims=True),
    "concat": lambda x: tf.concat([x, tf.square(x)], 1),
    "list as a tensor": lambda x: tf.reshape([x, x + 1.0, x], (-1, 18)),
    "keyword": lambda x: tf.reshape(tensor=x, shape=(-1, 2, 3)),
    "dynamic shape": lambda x: tf.reshape(x, [tf.shape(x)[0], 3, 2]),
    "several outputs": lambda x: tf.split(x, 3, axis=1)[1],
    "named outputs": lambda x: tf.nn.top_k(x, 2).values,
    "dtype": lambda x: tf.cast(x > 0, tf.int64),
    "constant first": lambda x: tf.matmul(tf.ones((2, 4)), x),
    "where": lambda x: tf.where(x > 0, x, tf.zeros_like(x)),
    "einsum": lambda x: tf.einsum("bi,bj->bij", x, x),
    "scaled": lambda x: tf.reduce_mean(0.5 * x, 1),
    "map_fn": lambda x: tf.map_fn(lambda row: row * 2.0, x),
    "sparse and back": lambda x: tf.sparse.to_dense(tf.sparse.from_dense(x)),
    "backend sum": lambda x: K.sum(K.square(x), axis=1),
    "backend dims": lambda x: K.expand_dims(x, -1),
    "backend flatten": lambda x: K.batch_flatten(tf.reshape(x, (-1, 2, 3))),
    "backend dot": lambda x: K.dot(x, tf.ones((6, 2))),
    "get_shape": lambda x: tf.reshape(x, (-1, x.get_shape()[1] // 2)),
    "layer between": lambda x: tf.sigmoid(keras.layers.Rescaling(2.0)(tf.nn.relu(x))),
}  # fmt: skip


@pytest.mark.parametrize("case", ON_NUMBERS)
def test_operations_of_tensorflow_in_a_functional_model(case: str, tmp_path: Path) -> None:
    function = ON_NUMBERS[case]
    inputs = keras.Input((6,), name="x")
    model = keras.Model(inputs, function(inputs))
    wanted = function(X)
    np.testing.assert_allclose(model(X), wanted, rtol=1e-6)
    np.testing.assert_allclose(tf.function(model)(X), wanted, rtol=1e-6)
    np.testing.assert_allclose(keras.models.clone_model(model)(X), wanted, rtol=1e-6)
    if case != "map_fn":  # its argument is a function
        model.save(tmp_path / "model.keras")
        np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(X), wanted, rtol=1e-6)


def test_operations_on_texts_and_several_inputs() -> None:
    number, text = keras.Input((6,), name="number"), keras.Input((1,), name="text", dtype="string")
    hashed = tf.strings.to_hash_bucket_fast(text, 10)
    words = tf.strings.length(text)
    out = tf.concat([number, tf.cast(hashed, tf.float32), tf.cast(words, tf.float32)], 1)
    model = keras.Model({"number": number, "text": text}, {"out": out, "hashed": hashed})
    result = model({"number": X, "text": TEXTS})
    np.testing.assert_array_equal(result["hashed"], tf.strings.to_hash_bucket_fast(TEXTS, 10))
    np.testing.assert_array_equal(result["out"][:, -1], [3.0, 1.0, 0.0, 5.0])


def test_operations_are_exported_and_trained_through(tmp_path: Path) -> None:
    inputs = keras.Input((6,), name="x")
    hidden = tf.concat([keras.layers.Dense(4)(inputs), inputs], 1)
    model = keras.Model(inputs, tf.reduce_sum(keras.layers.Dense(2)(hidden), 1, keepdims=True))
    model.compile("sgd", "mse")
    before = [weight.numpy() for weight in model.weights]
    model.fit(X, tf.ones((4, 1)), verbose=0)
    changed = [np.any(weight.numpy() != value) for weight, value in zip(model.weights, before, strict=True)]
    assert all(changed) and len(changed) == 4
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(exported.serve(X), model(X), rtol=1e-6)


def test_a_variable_that_would_not_be_trained_is_refused() -> None:
    with pytest.raises(ModelError, match=r"^tf\.math\.multiply gets the variable .* make it a weight of a layer"):
        tf.multiply(keras.Input((6,)), tf.Variable(tf.ones((6,))))


def test_operations_without_keras_inputs_are_what_they_were() -> None:
    def branchy(row: Any) -> Any:
        if tf.reduce_sum(row) > 0:  # AutoGraph converts this function, also within a wrapped one
            return row * 2.0
        return -row

    wanted = [row * 2 if row.sum() > 0 else -row for row in X.numpy()]
    np.testing.assert_allclose(tf.function(lambda x: tf.map_fn(branchy, x))(X), wanted, rtol=1e-6)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError)):
        tf.concat([X, tf.ones((3, 3, 3))], 0)


# ------------------------------------------------------------------ feature columns


FC = tf.feature_column
FEATURES = {
    "age": tf.constant([20, 40, 60, 80]), "city": tf.constant(["rome", "oslo", "rome", "bonn"]),
    "size": tf.constant([0.5, 1.5, 2.5, 3.5]), "unused": tf.constant([1, 1, 1, 1]),
}  # fmt: skip


def columns() -> list[Any]:
    city = FC.categorical_column_with_vocabulary_list("city", ["oslo", "rome"], num_oov_buckets=1)
    hashed = FC.categorical_column_with_hash_bucket("city", 7)
    return [
        FC.numeric_column("age"), FC.embedding_column(hashed, 3), FC.indicator_column(city),
        FC.bucketized_column(FC.numeric_column("size"), [1.0, 2.0]),
        FC.indicator_column(FC.crossed_column(["city", "age"], 5)),
    ]  # fmt: skip


def inputs() -> dict[str, Any]:
    return {
        name: keras.Input((1,), name=name, dtype="string" if value.dtype == tf.string else "float32")
        for name, value in FEATURES.items() if name != "age"
    } | {"age": keras.Input((1,), name="age", dtype="int64")}  # fmt: skip


def test_dense_features_are_in_the_order_of_their_names() -> None:
    layer = keras.layers.DenseFeatures([FC.numeric_column("size"), FC.numeric_column("age"), columns()[2]])
    rows = layer(FEATURES).numpy()
    np.testing.assert_allclose(rows, [[20, 0, 1, 0, 0.5], [40, 1, 0, 0, 1.5], [60, 0, 1, 0, 2.5], [80, 0, 0, 1, 3.5]])
    assert tf.keras.layers.DenseFeatures is keras.layers.DenseFeatures
    assert importlib.import_module("tensorflow.keras.layers").DenseFeatures is keras.layers.DenseFeatures


@pytest.mark.parametrize("form", ["functional", "sequential"])
def test_dense_features_train_save_and_export(form: str, tmp_path: Path) -> None:
    dense = keras.layers.Dense(1)
    if form == "functional":
        given = inputs()
        model = keras.Model(given, dense(keras.layers.DenseFeatures(columns())(given)))
    else:
        model = keras.Sequential([keras.layers.DenseFeatures(columns()), dense])
        model(FEATURES)
    assert [weight.shape for weight in model.weights] == [(7, 3), (1 + 3 + 3 + 3 + 5, 1), (1,)]
    model.compile(keras.optimizers.Adam(0.1), "mse")
    before = [weight.numpy() for weight in model.weights]
    model.fit(tf.data.Dataset.from_tensors((FEATURES, tf.ones((4, 1)))), verbose=0)
    assert all(np.any(weight.numpy() != value) for weight, value in zip(model.weights, before, strict=True))
    if form == "functional":
        model.save(tmp_path / "model.keras")
        np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(FEATURES), model(FEATURES))
        model.export(tmp_path / "saved", verbose=False)
        flat = {name: tf.reshape(value, (-1, 1)) for name, value in FEATURES.items()}
        flat["age"] = tf.cast(flat["age"], tf.int64)
        flat["unused"] = tf.cast(flat["unused"], tf.float32)
        exported = tf.saved_model.load(tmp_path / "saved")
        np.testing.assert_allclose(exported.serve(flat), model(FEATURES), rtol=1e-6)


def test_columns_without_dense_values_are_refused() -> None:
    with pytest.raises(ModelError, match="'city' is HashedCategoricalColumn, which has no dense values; wrap it in"):
        keras.layers.DenseFeatures([FC.categorical_column_with_hash_bucket("city", 7)])
    with pytest.raises(ModelError, match="several columns are named age"):
        keras.layers.DenseFeatures([FC.numeric_column("age"), FC.numeric_column("age")])
    with pytest.raises(ModelError, match="at least one"):
        keras.layers.DenseFeatures([])
    with pytest.raises(ModelError, match="needs a dict of features"):
        keras.layers.DenseFeatures(FC.numeric_column("age")).call(X)


# ------------------------------------------------------------------ old modules and arguments


@pytest.mark.parametrize(
    ("module", "name", "home"),
    [
        ("", "Model", keras), ("", "layers", None), ("layers", "Dense", keras.layers),
        ("layers.core", "Dense", keras.layers), ("layers.embeddings", "Embedding", keras.layers),
        ("engine.base_layer", "Layer", keras.layers), ("engine.training", "Model", keras),
        ("engine.input_layer", "Input", keras), ("optimizer_v2.adam", "Adam", keras.optimizers),
        ("optimizers", "SGD", keras.optimizers), ("regularizers", "l2", keras.regularizers),
        ("initializers", "Zeros", keras.initializers), ("backend", "image_data_format", keras.config),
        ("losses", "MeanSquaredError", keras.losses), ("metrics", "AUC", keras.metrics),
        ("callbacks", "Callback", keras.callbacks), ("utils", "to_categorical", keras.utils),
    ],
)  # fmt: skip
def test_tensorflows_copy_of_keras_leads_to_keras(module: str, name: str, home: Any) -> None:
    found = getattr(importlib.import_module(f"tensorflow.python.keras.{module}".rstrip(".")), name)
    assert found is (getattr(home, name) if home else importlib.import_module(f"tensorflow.python.keras.{name}"))


def test_names_that_keras_no_longer_has() -> None:
    from tensorflow.python.keras.metrics import accuracy
    from tensorflow.python.keras.utils import tf_utils

    np.testing.assert_array_equal(accuracy(tf.constant([1, 2, 3]), tf.constant([1, 0, 3])), [1.0, 0.0, 1.0])
    assert tf_utils.shape_type_conversion
    with pytest.raises(AttributeError, match="CuDNNLSTM is part of Keras 2, and Keras 3 has nothing of that name"):
        importlib.import_module("tensorflow.python.keras.layers").CuDNNLSTM  # noqa: B018


def test_arguments_of_old_optimizers() -> None:
    assert float(keras.optimizers.SGD(lr=0.25).learning_rate) == 0.25
    assert float(tf.keras.optimizers.legacy.Adam(lr=0.5).learning_rate) == 0.5
    adam = keras.optimizers.Adam(0.125)
    assert float(adam.learning_rate) == float(K.get_value(adam.lr)) == 0.125
    adam.lr = 0.25
    assert float(adam.learning_rate) == 0.25
    K.set_value(adam.lr, 0.5)
    assert float(adam.learning_rate) == 0.5
    optimizer = keras.optimizers.SGD(learning_rate=0.5, decay=0.5)
    assert type(optimizer.from_config(optimizer.get_config()).learning_rate) is type(optimizer.learning_rate)
    variable = keras.Variable([0.0])
    optimizer.build([variable])
    for step in range(3):  # as Keras 2: the rate is lr / (1 + decay * step)
        before = float(variable.numpy()[0])
        optimizer.apply([tf.constant([1.0])])
        assert before - float(variable.numpy()[0]) == pytest.approx(0.5 / (1 + 0.5 * step))
    with pytest.raises(ModelError, match=r"decay=0\.5 needs a number as its learning rate, not CosineDecay"):
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10), decay=0.5)
    with pytest.raises(ValueError, match="not recognized"):
        keras.optimizers.SGD(speed=1)


def test_weights_named_first() -> None:
    class Old(keras.layers.Layer):
        def build(self, input_shape: Any) -> None:
            self.scale = self.add_weight("scale", (input_shape[-1],), initializer="ones", trainable=True)
            self.shift = self.add_weight(shape=(1,), name="shift")

        def call(self, values: Any) -> Any:
            return values * self.scale + self.shift

    layer = Old()
    layer(X)
    assert [weight.name for weight in layer.weights] == ["scale", "shift"]

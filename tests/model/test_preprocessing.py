"""`elasticdl_preprocessing`: each layer on dense, ragged and sparse tensors, in models, and from its config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.older.installing import install
from elasticdl_preprocessing import layers
from elasticdl_preprocessing.constants import AnalysisEnvTemplate
from elasticdl_preprocessing.feature_column.feature_column import concatenated_categorical_column
from elasticdl_preprocessing.utils import analyzer_utils
from elasticdl_preprocessing.utils.decorators import declare_model_inputs

install()
TEXTS = ["a", "b", "zz", "a"]

ELEMENTWISE: list[tuple[Any, list[Any], list[Any]]] = [
    (layers.Discretization([1.0, 2.0]), [0.5, 1.0, 1.5, 2.0], [0, 1, 1, 2]),
    (layers.Discretization([1, 2]), [0, 1, 2, 9], [0, 1, 2, 2]),
    (layers.Hashing(5), TEXTS, list(tf.strings.to_hash_bucket_fast(TEXTS, 5).numpy())),
    (layers.Hashing(5), [7, 8, -1, 7], list(tf.strings.to_hash_bucket_fast(["7", "8", "-1", "7"], 5).numpy())),
    (layers.IndexLookup(["a", "b"]), TEXTS, [0, 1, 2, 0]),
    (layers.LogRound(8, base=2), [1.2, 3.1, 100.0, 0.0], [0, 2, 7, 0]),
    (layers.LogRound(8, default_value=3), [1.0, 2.8, 1e9, -1.0], [0, 1, 3, 3]),
    (layers.RoundIdentity(5, default_value=1), [1.4, 3.6, 5.2, -2.0], [1, 4, 1, 1]),
    (layers.Normalizer(2, 4), [2, 6, 10, 0], [0.0, 1.0, 2.0, -0.5]),
    (layers.ToNumber(tf.int32, -1), ["5", "", "-7", "12"], [5, -1, -7, 12]),
    (layers.ToNumber("float32", 0.5), ["1.5", "", "-2", "0"], [1.5, 0.5, -2.0, 0.0]),
    (layers.ToNumber(tf.int64, 0), [1.9, 2.0, 3.1, 4.0], [1, 2, 3, 4]),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(ELEMENTWISE)))
def test_layers_that_change_values_one_by_one(number: int, tmp_path: Path) -> None:
    layer, given, wanted = ELEMENTWISE[number]
    dense = tf.reshape(tf.constant(given), (2, 2))
    np.testing.assert_allclose(layer(dense), np.reshape(wanted, (2, 2)), rtol=1e-6)
    ragged = layer(tf.RaggedTensor.from_row_lengths(given, [3, 1]))
    np.testing.assert_allclose(ragged.flat_values, wanted, rtol=1e-6)
    assert list(ragged.row_lengths()) == [3, 1]
    sparse = layer(tf.SparseTensor([[0, 0], [0, 4], [1, 1], [1, 2]], given, [2, 5]))
    np.testing.assert_allclose(sparse.values, wanted, rtol=1e-6)
    assert sparse.shape == (2, 5)

    inputs = keras.Input((2,), dtype=dense.dtype.name)
    outputs = layer(inputs)
    assert outputs.dtype == layer(dense).dtype.name and outputs.shape == (None, 2)
    model = keras.Model(inputs, outputs)
    np.testing.assert_allclose(tf.function(model)(dense), np.reshape(wanted, (2, 2)), rtol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(dense), layer(dense), rtol=1e-6)


def test_dense_to_sparse_and_ragged() -> None:
    numbers, texts = tf.constant([[1, -1], [-1, 4]]), tf.constant([["a,b", ""], ["c", "d"]])
    sparse = layers.ToSparse()(numbers)
    assert sparse.indices.numpy().tolist() == [[0, 0], [1, 1]] and sparse.values.numpy().tolist() == [1, 4]
    assert layers.ToSparse()(tf.constant([[0.0, 2.0]])).values.numpy().tolist() == [2.0]
    assert layers.ToSparse(4)(numbers).values.numpy().tolist() == [1, -1, -1]
    assert layers.ToSparse()(sparse) is sparse
    assert layers.ToSparse()(tf.ragged.constant([["a", ""], ["b"]])).values.numpy().tolist() == [b"a", b"b"]
    assert layers.ToRagged()(numbers).to_list() == [[1], [4]]
    assert layers.ToRagged()(texts).to_list() == [[b"a", b"b"], [b"c", b"d"]]
    assert layers.ToRagged(ignore_value="c")(tf.ragged.constant([["c", "d"], []])).to_list() == [[b"d"], []]
    assert layers.ToRagged()(tf.constant([[1.5, -1.0]])).to_list() == [[1.5, -1.0]]


def test_ids_side_by_side() -> None:
    layer = layers.ConcatenateWithOffset([0, 10])
    first, second = tf.constant([[1], [2]]), tf.constant([[3], [4]])
    assert layer([first, second]).numpy().tolist() == [[1, 13], [2, 14]]
    ragged = layer([tf.ragged.constant([[1], []], dtype=tf.int64), tf.ragged.constant([[3], [4]], dtype=tf.int64)])
    assert ragged.to_list() == [[1, 13], [14]]
    sparse = layer([layers.ToSparse()(first), layers.ToSparse()(second)])
    assert tf.sparse.to_dense(sparse).numpy().tolist() == [[1, 13], [2, 14]]
    assert layers.ConcatenateWithOffset(None)([first, second]).numpy().tolist() == [[1, 3], [2, 4]]
    assert layer(first) is first
    with pytest.raises(ModelError, match="there are 3 tensors and 2 offsets"):
        layer.call([first, first, first])


@pytest.mark.parametrize(("combiner", "scale"), [("sum", 1.0), ("mean", 0.5), ("sqrtn", 2**-0.5)])
def test_sparse_embeddings(combiner: str, scale: float) -> None:
    layer = layers.SparseEmbedding(5, 2, combiner=combiner)
    rows = layer(tf.SparseTensor([[0, 0], [0, 1], [2, 0]], [1, 3, 4], [3, 2]))
    table = layer.embeddings.numpy()
    np.testing.assert_allclose(rows, [(table[1] + table[3]) * scale, [0, 0], table[4]], rtol=1e-6)
    np.testing.assert_allclose(layer(tf.ragged.constant([[1, 3], [], [4]])), rows, rtol=1e-6)
    np.testing.assert_allclose(layer(tf.constant([[1, 3], [-1, -1], [4, -1]])), rows, rtol=1e-6)


def test_a_model_of_sparse_layers_trains_and_exports(tmp_path: Path) -> None:
    texts, ages = keras.Input((1,), dtype="string", name="text"), keras.Input((1,), name="age")
    ids = [
        layers.IndexLookup(["a", "b"])(layers.ToSparse()(texts)),
        layers.Discretization([20.0, 40.0])(layers.ToSparse()(ages)),
    ]
    vector = layers.SparseEmbedding(6, 3)(layers.ConcatenateWithOffset([0, 3])(ids))
    model = keras.Model({"text": texts, "age": ages}, keras.layers.Dense(1)(vector))
    model.compile("sgd", "mse")
    data = {"text": tf.constant([["a"], ["zz"]]), "age": tf.constant([[25.0], [50.0]])}
    before = model.get_weights()
    model.fit(tf.data.Dataset.from_tensors((data, tf.ones((2, 1)))), verbose=0)
    assert all(np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(data), model(data), rtol=1e-6)
    model.export(tmp_path / "saved", verbose=False)
    exported = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(exported.serve(data), model(data), rtol=1e-6)


def test_concatenated_columns_share_a_table(tmp_path: Path) -> None:
    fc = tf.feature_column
    city = fc.categorical_column_with_vocabulary_list("city", ["oslo", "rome"])
    size = fc.bucketized_column(fc.numeric_column("size"), [1.0, 2.0])
    column = concatenated_categorical_column([city, size])
    assert (column.num_buckets, column.name) == (5, "city_C_size_bucketized")
    inputs = {"city": keras.Input((1,), dtype="string", name="city"), "size": keras.Input((1,), name="size")}
    model = keras.Model(inputs, keras.layers.DenseFeatures(fc.embedding_column(column, 2, combiner="sum"))(inputs))
    data = {"city": tf.constant([["rome"], ["bonn"]]), "size": tf.constant([[0.5], [3.0]])}
    table = model.weights[0].numpy()
    np.testing.assert_allclose(model(data), [table[1] + table[2], table[4]], rtol=1e-6)
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(keras.models.load_model(tmp_path / "model.keras")(data), model(data), rtol=1e-6)
    with pytest.raises(ModelError, match="is not a categorical column"):
        concatenated_categorical_column([fc.numeric_column("size")])
    with pytest.raises(ModelError, match="a list of at least one"):
        concatenated_categorical_column([])


def test_wrong_arguments() -> None:
    for make, problem in [
        (lambda: layers.Hashing(0), "num_bins=0; it must be at least 1"),
        (lambda: layers.IndexLookup(["a", "a"]), "the vocabulary has 'a' more than once"),
        (lambda: layers.IndexLookup(), "vocabulary is missing"),
        (lambda: layers.Normalizer(1, 0), "the divisor is 0"),
        (lambda: layers.ToNumber(tf.string, 0), "out_type=string is not a type of numbers"),
        (lambda: layers.SparseEmbedding(3, 2, combiner="max"), "combiner='max'; use 'sum', 'mean' or 'sqrtn'"),
        (lambda: declare_model_inputs(), "needs one or more names"),
    ]:
        with pytest.raises(ModelError, match=problem):
            make()


def test_a_vocabulary_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.txt").write_text("a\nb \n")
    layer = layers.IndexLookup(str(tmp_path / "vocabulary.txt"), num_oov_tokens=2)
    assert layer.get_config()["vocabulary"] == ["a", "b"] and layer.vocab_size() == 4
    assert layer(tf.constant(["b", "q"])).numpy()[0] == 1


def test_statistics_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert analyzer_utils.get_min("age", 1.5) == 1.5
    values = {
        AnalysisEnvTemplate.MIN_ENV: "2", AnalysisEnvTemplate.MAX_ENV: "9", AnalysisEnvTemplate.AVG_ENV: "4.5",
        AnalysisEnvTemplate.STDDEV_ENV: "1.5", AnalysisEnvTemplate.BUCKET_BOUNDARIES_ENV: "3,1,2,3",
        AnalysisEnvTemplate.DISTINCT_COUNT_ENV: "7", AnalysisEnvTemplate.VOCABULARY_ENV: "/data/words.txt",
    }  # fmt: skip
    for template, value in values.items():
        monkeypatch.setenv(template.format("age"), value)
    assert [analyzer_utils.get_min("age", 0), analyzer_utils.get_max("age", 0)] == [2.0, 9.0]
    assert [analyzer_utils.get_avg("age", 0), analyzer_utils.get_stddev("age", 0)] == [4.5, 1.5]
    assert analyzer_utils.get_bucket_boundaries("age", []) == [1.0, 2.0, 3.0]
    assert analyzer_utils.get_distinct_count("age", 0) == 7
    assert analyzer_utils.get_vocabulary("age", []) == "/data/words.txt"
    monkeypatch.setenv("_age_min", "many")
    with pytest.raises(ModelError, match="environment variable _age_min is 'many', which is not a number"):
        analyzer_utils.get_min("age", 0)


def test_declared_inputs() -> None:
    @declare_model_inputs("wide", "deep")
    class Model: ...

    assert Model._model_inputs == ["wide", "deep"]  # type: ignore[attr-defined]

"""What users hand over as data: each works as `fit` takes it, or is refused in one sentence before anything starts."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import scipy.sparse as sparse
import tensorflow as tf

from elasticdl_nb.job.starting import dry_run
from elasticdl_nb.runtime.errors import ElasticDLError, OptionError

random = np.random.default_rng(0)
X, Y = random.normal(size=(32, 3)), random.normal(size=32)
FEATURES = pd.DataFrame(X, columns=list("abc"))
FRAME = FEATURES.assign(y=Y)
TABLE = pa.Table.from_pandas(FRAME)
LIVING = keras.Sequential([keras.layers.Dense(1)])
AS_IN_FIT = {"loss": "mse", "optimizer": "SGD", "eval_metrics_fn": "mae"}


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    folder = tmp_path / "zoo"
    folder.mkdir()
    (folder / "m.py").write_text("import keras\n\ndef model():\n    return keras.Sequential([keras.layers.Dense(1)])\n")
    return folder


def noted(zoo: Path, data: Any, **options: Any) -> list[str]:
    """The notes on a job with this data; with a label, or as `fit` takes it."""
    given = {"model_def": "m.model", "model_zoo": zoo, "data": data, **(options or AS_IN_FIT)}
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        with dry_run("train", given):
            pass
    return [str(one.message) for one in found]


class Tensor:
    """As PyTorch's tensors do, it refuses to become an array where that would lose a gradient."""

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


def batches() -> Any:
    yield X, Y


@pytest.mark.parametrize(
    "data",
    [
        (FEATURES, FRAME[["y"]]), (FEATURES, FRAME[["y", "a"]]), (FEATURES, FRAME["y"]), (X, FRAME["y"]),
        (X, FRAME[["y"]]), (FRAME["a"], FRAME["y"]), (pl.from_pandas(FEATURES), pl.Series("y", Y)),
        (pl.from_pandas(FEATURES), pl.from_pandas(FRAME[["y"]])), (pl.from_pandas(FEATURES).lazy(), Y),
        (TABLE.select(["a", "b"]), Y), (TABLE.select(["a", "b"]), TABLE.select(["y"])), (X, TABLE["y"]),
        (pa.array(Y), pa.array(Y)), ({"a": FRAME["a"]}, FRAME["y"]), (keras.Variable(X), Y), (tf.Variable(X), Y),
        (np.ma.masked_array(X, X > 99), Y),
    ],
)  # fmt: skip
def test_what_fit_takes_is_taken(zoo: Path, data: Any) -> None:
    assert not noted(zoo, data)


ARRAYS = r"make them arrays with numpy\.array.*; expected a frame, arrays such as \(x, y\)"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X.tolist(), f"data: a list with Python's own lists or numbers: {ARRAYS}"),
        ((X.tolist(), Y.tolist()), f"data: a tuple with .*: {ARRAYS}"),
        ((X, Y.tolist()), f"data: a tuple with .*: {ARRAYS}"),
        ((FEATURES, Y.tolist()), f"data: a tuple with .*: {ARRAYS}"),
        (FRAME.to_dict("records"), r"data: a list of dicts: make it a frame, for example with pandas\.DataFrame"),
        (FRAME.to_dict("list"), r"data: a dict whose values are not arrays: make it a frame with pandas\.DataFrame"),
        (batches(), r"data: a generator, which can be read only once: make it arrays, or a tf\.data\.Dataset"),
        (batches, "data: the function batches: give what it returns"),
        (keras.utils.PyDataset, "data: the class PyDataset, not an object of it"),
        (FRAME.groupby("a"), "data: an object of type DataFrameGroupBy; expected a frame"),
        (range(5), "data: an object of type range"),
        (3, "data: 3 is no data; expected a frame"),
        (b"a.csv", "data: an object of type bytes"),
        ((), "data: required"),
        ([FRAME, 3], "data: a list with Python's own lists or numbers"),
        ((FRAME, "y"), "data: a frame and the name of its column 'y': give the frame alone, and that name with label"),
        ((sparse.csr_array(X), Y), r"data: x is a sparse csr_array; make it dense with \.toarray"),
        ((sparse.dok_matrix(X), Y), r"data: x is a sparse dok_matrix; make it dense with \.toarray"),
        (sparse.lil_matrix(X), r"data: x is a sparse lil_matrix; make it dense with \.toarray"),
        ((tf.sparse.from_dense(X), Y), "data: x is a SparseTensor; make it dense with tf.sparse.to_dense"),
        ((np.ma.masked_array(X, X > 1), Y), r"data: x is a masked array; .* \.filled"),
        ((Tensor(), Y), "data: x cannot become a NumPy array: .* requires grad"),
        (tf.data.Dataset.from_tensor_slices((X, Y)), r"data: y is the single value .*, not a batch; add \.batch\(32\)"),
        (FRAME.to_numpy(), "label: names a column of a frame, which arrays do not have; give data=.*, or a frame"),
        (TABLE["y"], "data: an Arrow array without a name; give a table"),
    ],
)
def test_what_is_no_data_is_refused_with_what_is_accepted(zoo: Path, data: Any, message: str) -> None:
    options = {"label": "y"} if "label" in message or "Arrow" in message else AS_IN_FIT
    with pytest.raises(OptionError, match=f"^{message}") as refused:
        noted(zoo, data, **options)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("columns", "note"),
    [
        ({"x": [{"k": 1}] * 32}, "x has values of a type that cannot be an input: dropped"),
        ({"x": [[1, 2]] * 32}, "x has values of a type that cannot be an input: dropped"),
        ({"x": [b"a", b"b"] * 16}, "x has values of a type that cannot be an input: dropped"),
        ({"x": None}, "x has no values: dropped"),
        ({"x": np.nan}, "x has no values: dropped"),
        ({"x": pd.array([1, None] * 16, "Int64")}, "x has the same value in all rows that have one: dropped"),
        ({"x": np.arange(32) // 2 + 2**60}, "x: whole numbers beyond 2**53 lose their last digits"),
        ({"x": pd.cut(Y, 3)}, None),
        ({"x": pd.period_range("2026-01", periods=32, freq="M")}, None),
        ({"x": pd.arrays.SparseArray([0, 1] * 16)}, None),
        ({"x": pd.date_range("2026-01-01", periods=32, tz="Europe/Berlin")}, None),
        ({3: 1.0 * np.arange(32)}, None),
    ],
)
def test_columns_of_every_kind_are_used_or_dropped_with_a_note(zoo: Path, columns: Any, note: str | None) -> None:
    found = noted(zoo, FRAME.assign(**{str(name): values for name, values in columns.items()}), label="y")
    assert found == [] if note is None else any(one.startswith(note) for one in found)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (FRAME.assign(x=[2**70 + n for n in range(32)]), {}, "data: column 'x' of the frame has values"),
        (FRAME.assign(x=1j), {}, "data: column 'x' of the frame has values"),
        (pa.table([pa.array(Y)] * 3, names=["a", "a", "y"]), {}, "data: the frame has several columns named 'a'"),
        (pl.from_pandas(FRAME[:0]), {}, "data: the frame has no rows"),
        (pd.DataFrame(), {}, "data: the frame has no rows"),
        (FRAME[["y"]], {}, "features: no column is left to predict 'y' from. There is no other column.$"),
        (FRAME.assign(y=None), {}, "label: 'y' has no values"),
        (FRAME.assign(y=np.arange(32) + 2**60), {}, r"label: 'y' has whole numbers beyond 2\*\*53"),
        (FRAME[:1], {}, "label: 'y' is .* in all rows, so there is nothing to learn"),
        (FRAME, {"label": ["y"]}, r"label: \['y'\] is not valid: expected the name of one column"),
        (FRAME.assign(w="x"), {"sample_weight_column": "w"}, "sample_weight_column: 'w' has no numbers, but text"),
        (
            FRAME.assign(w=-1.0),
            {"sample_weight_column": "w"},
            "sample_weight_column: 'w' has negative values, such as -1",
        ),
        (
            FRAME.assign(w=[None, *Y[1:] ** 2]),
            {"sample_weight_column": "w"},
            "sample_weight_column: 'w' is missing or inf",
        ),
    ],
)
def test_frames_without_an_answer_are_refused(zoo: Path, data: Any, options: Any, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        noted(zoo, data, **{"label": "y", **options})


def test_a_frame_for_a_living_model_needs_a_label() -> None:
    refused = pytest.raises(OptionError, match=r"^label: required: name the column to predict, if the data is a table")
    with refused, dry_run("train", {"model": LIVING, "data": FRAME}):
        pass
    refused = pytest.raises(OptionError, match=r"^optimizer: required, as the model is not compiled")
    with refused, dry_run("train", {"model": keras.Sequential([keras.layers.Dense(1)]), "data": (X, Y), "loss": "mse"}):
        pass


def test_whole_numbers_name_columns(zoo: Path) -> None:
    assert not noted(zoo, pd.DataFrame(np.c_[X, Y]), label=3, features=[0, 1])


def test_columns_that_only_the_validation_data_has_do_no_harm(zoo: Path) -> None:
    assert not noted(zoo, FRAME, validation_data=FRAME.assign(more=[{"k": 1}] * 32), label="y")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.json", r"\.json files are not read by jobs .*; in Python, give what pandas\.read_json returns"),
        ("a.npz", r"\.npz files are not read by jobs .*; in Python, give what numpy\.load returns"),
        ("a.parquet", "it has several columns named 'a'"),
        ("a.arrow", "it has several columns named 'a'"),
        ("a.csv", r"label: the data has no column 'y'. The data has 'a;y'. Is the separator ';'\? .*\"sep=';'\""),
        ("b.csv", r"no column is left .* b has texts that are not UTF-8 \(name their encoding"),
    ],
)
def test_files_that_cannot_be_read_say_what_to_do(zoo: Path, name: str, message: str) -> None:
    twice = pa.table([pa.array(Y)] * 3, names=["a", "a", "y"])
    path = zoo.parent / name
    match path.suffix:
        case ".parquet":
            pq.write_table(twice, path)
        case ".arrow":
            with pa.ipc.new_file(str(path), twice.schema) as writer:
                writer.write_table(twice)
        case _:
            path.write_bytes(b"a;y\n1;2\n3;4\n" if name == "a.csv" else b"b,y\n\xff,3\n1,4\n")
    with pytest.raises(ElasticDLError, match=re.compile(message, re.DOTALL)):
        noted(zoo, path, label="y")

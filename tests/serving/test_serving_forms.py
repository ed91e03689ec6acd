"""What clients of a server send: JSON and tensors become arrays of the model's types, or are refused in a sentence."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.serving import tensors
from elasticdl_nb.runtime.serving.checking import checked as checked_settings
from elasticdl_nb.runtime.serving.columns import DTYPES, MOMENTS, numbers, with_missing
from elasticdl_nb.runtime.serving.form import Form, checked
from elasticdl_nb.runtime.serving.jsonforms import Request, answer
from elasticdl_nb.runtime.serving.problems import Refused
from elasticdl_nb.runtime.serving.process import _tls
from elasticdl_nb.runtime.serving.settings import Settings

FORMS = {"id": Form("int64", (2,)), "x": Form("float32", ()), "word": Form("string", ()), "yes": Form("bool", ())}
ROW = {"id": [1, 2], "x": 1, "word": {"b64": "//8="}, "yes": True}
COLUMNS = {"id": [[1, 2], [3, 4]], "x": [0.5, 1], "word": ["a", "ü"], "yes": [False, True]}


def read(content: Any, forms: Any = FORMS) -> dict[str, np.ndarray]:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return checked(Request(body).arrays(forms), forms)


def test_rows_and_columns_become_arrays() -> None:
    rows = read({"instances": [ROW, {**ROW, "id": [3, 4]}], "signature_name": "serving_default"})
    assert rows["id"].tolist() == [[1, 2], [3, 4]]
    assert rows["id"].dtype == np.int64
    assert rows["x"].dtype == np.float32
    assert rows["word"].tolist() == [b"\xff\xff"] * 2
    columns = read({"inputs": COLUMNS})
    assert columns["word"].tolist() == [b"a", "ü".encode()]
    assert read({"instances": [{**ROW, "x": 10**30}]})["x"] == np.float32(1e30)
    single = {"x": Form("float32", (2,))}
    assert read({"instances": [[1, 2]]}, single)["x"].tolist() == read({"inputs": [[1, 2]]}, single)["x"].tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "JSON Parse error"),
        (b"[" * 100_000, "JSON Parse error"),
        (b"\xff", "JSON Parse error"),
        ([], "must be an object"),
        ({}, "either 'instances' or 'inputs'"),
        ({"instances": [], "inputs": []}, "either"),
        ({"instances": []}, "at least one"),
        ({"instance": [ROW]}, "unknown field 'instance'. Did you mean 'instances'"),
        ({"instances": [1]}, "must be an object"),
        ({"instances": [ROW, 1]}, "all be objects"),
        ({"instances": [{**ROW, "y": 1}]}, "no input 'y'"),
        ({"instances": [{"id": [1, 2]}]}, "'x' is missing"),
        ({"inputs": {}}, "'id' is missing"),
        ({"inputs": 3}, "must be an object"),
        ({"instances": [{**ROW, "id": [1]}]}, r"'id' must be int64 \[\?, 2\], not int64 \[1, 1\]"),
        ({"instances": [{**ROW, "id": [1, [2]]}]}, "differ in length"),
        ({"instances": [{**ROW, "id": [1.5, 2]}]}, "another type"),
        ({"instances": [{**ROW, "id": [2**63, 0]}]}, "range|type"),
        ({"instances": [{**ROW, "id": [2**64, 0]}]}, "type"),
        ({"instances": [{**ROW, "x": 1e300}]}, "outside of that range"),
        ({"instances": [{**ROW, "x": 10**39}]}, "outside of that range"),
        ({"instances": [{**ROW, "x": 10**400}]}, "outside of that range"),
        (b'{"instances": [{"id": [1, 2], "x": 1, "x": 2}]}', "has 'x' twice"),
        (b'{"inputs": {}, "inputs": {}}', "has 'inputs' twice"),
        ({"instances": [{**ROW, "x": "1"}]}, "another type"),
        ({"instances": [{**ROW, "x": None}]}, "another type"),
        ({"instances": [{**ROW, "x": True}]}, "another type"),
        ({"instances": [{**ROW, "yes": 1}]}, "another type"),
        ({"inputs": {**COLUMNS, "x": [1.5, True]}}, "'x' must be .* another type"),
        ({"inputs": {**COLUMNS, "id": [[1, True], [2, 3]]}}, "'id' must be .* another type"),
        ({"inputs": {**COLUMNS, "x": [[1], 2]}}, "differ in length"),
        ({"instances": [{**ROW, "word": 1}]}, "must be string"),
        ({"instances": [{**ROW, "word": {"b64": "?"}}]}, "not base64"),
        ({"inputs": {**COLUMNS, "x": [1]}}, "equally many"),
        ({"inputs": {**COLUMNS, "x": 1}}, r"must be float32 \[\?\], not float32 \[\]"),
        ({"instances": [ROW], "signature_name": 1}, "a text"),
        ({"inputs": {"id": np.zeros((0, 2)).tolist(), "x": [], "word": [], "yes": []}}, "must be int64|no records"),
    ],
)
def test_what_is_no_request_is_refused(content: Any, message: str) -> None:
    with pytest.raises(Refused, match=message):
        read(content)


KINDS = {
    "word": "text", "count": "integer", "yes": "boolean", "size": "float", "day": "date", "at": "timestamp",
    "hour": "time", "span": "duration",
}  # fmt: skip
TABLE = {name: Form(DTYPES[kind], (), kind) for name, kind in KINDS.items()}
FULL = {
    "word": "a", "count": 3, "yes": True, "size": 2, "day": "1970-01-02", "at": "1970-01-01T02:00:10.5+02:00",
    "hour": "00:01:00", "span": "-P1DT2H3M4.5S",
}  # fmt: skip


def as_models_get_them(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    columns = read({"instances": list(rows)}, TABLE)
    seconds = {name: numbers(name, kind, columns[name]) for name, kind in KINDS.items() if kind in MOMENTS}
    return {name: values.tolist() for name, values in with_missing(columns | seconds, KINDS).items()}


def test_rows_of_a_table_come_as_readers_of_data_make_them() -> None:
    assert as_models_get_them({**FULL, "column that is not used": [1]}) == {
        "word": [b"a"], "count": [3], "yes": [True], "size": [2.0], "day": [86400.0], "at": [10.0], "hour": [60.0],
        "span": [-93784.5],
    }  # fmt: skip
    missing = as_models_get_them(FULL, dict.fromkeys(FULL))
    assert missing.pop("word") == [b"a", b""]
    assert {name: first for name, (first, _) in missing.items()} == {
        "count": 3.0, "yes": 1.0, "size": 2.0, "day": 86400.0, "at": 10.0, "hour": 60.0, "span": -93784.5
    }  # fmt: skip
    assert all(np.isnan(second) for _, second in missing.values())
    assert as_models_get_them({**FULL, "count": 31.0})["count"] == [31.0]  # so pandas writes a column with gaps
    nothing = as_models_get_them(dict.fromkeys(FULL))
    assert nothing.pop("word") == [b""]
    assert np.isnan(list(nothing.values())).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"at": 1_700_000_000_000}, "'at' must have a moment such as .*, as text"),
        ({"at": "yesterday"}, "'at' must have a moment such as .*, not 'yesterday'"),
        ({"day": "2024-01-01T05:00:00"}, "'day' must have a date such as 2024-01-31, not"),
        ({"hour": "25:00"}, "'hour' must have a time of day"),
        ({"hour": "12:00:00+01:00"}, "'hour' must have a time of day .*, without a zone"),
        ({"span": "P"}, "'span' must have a duration"),
        ({"span": "P999999999DT99999999999999H"}, "'span' must have|outside of the range"),
        ({"count": 1.5}, "'count' must have whole numbers"),
        ({"count": "3"}, "another type"),
        ({"count": True}, "another type"),
        ({"count": 2**53 + 1, "yes": None}, r"'count' has whole numbers from 2\*\*53 on"),
        ({"yes": 1}, "another type"),
        ({"word": 3}, "must be string"),
        ({"size": "1"}, "another type"),
    ],
)
def test_rows_of_a_table_with_other_values_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(Refused, match=message):
        as_models_get_them({**FULL, **changed})
    with pytest.raises(Refused, match="'count' is missing"):
        as_models_get_them({name: value for name, value in FULL.items() if name != "count"})


def test_lists_among_missing_values_are_refused() -> None:
    for name, values in (("count", [[1, 2], None]), ("count", [[], None]), ("word", [["a"], None])):
        with pytest.raises(Refused, match=f"'{name}' must be .* it has lists"):
            read({"inputs": {name: values}}, {name: TABLE[name]})


def test_a_long_text_among_numbers_takes_no_memory() -> None:
    tracemalloc.start()
    try:
        body = json.dumps({"inputs": {"x": ["x" * 100_000, *["a"] * 1500]}}).encode()
        with pytest.raises(Refused, match="another type"):
            read(body, {"x": FORMS["x"]})
        assert tracemalloc.get_traced_memory()[1] < 10 * len(body)  # as an array of texts, it takes 600 MB
    finally:
        tracemalloc.stop()


def test_tensors_of_whole_numbers_may_be_floats_where_some_are_missing() -> None:
    forms = {name: TABLE[name] for name in ("count", "yes")}
    right = {"count": np.array([1, np.nan]), "yes": np.array([np.nan, 1.0])}
    assert checked(right, forms) == right
    for wrong in ({"count": np.array([1.5, np.nan])}, {"yes": np.array([2.0, 1.0])}, {"count": np.array([np.inf, 1])}):
        with pytest.raises(Refused, match=r"must have (whole numbers|booleans)"):
            checked(right | wrong, forms)


def test_answers_have_the_form_of_requests() -> None:
    outputs = {"a": np.array([[1.0], [2.0]], np.float32), "b": np.array([b"x", b"\xff"], object)}
    assert json.loads(answer(outputs, True)) == {
        "predictions": [{"a": [1.0], "b": "x"}, {"a": [2.0], "b": {"b64": "/w=="}}]
    }
    assert json.loads(answer(outputs, False)) == {"outputs": {"a": [[1.0], [2.0]], "b": ["x", {"b64": "/w=="}]}}
    assert json.loads(answer({"a": outputs["a"]}, True)) == {"predictions": [[1.0], [2.0]]}
    assert json.loads(answer({"a": outputs["a"]}, False)) == {"outputs": [[1.0], [2.0]]}


def test_tensors_are_limited_by_what_they_stand_for() -> None:
    values = {"id": np.array([[1, 2]]), "word": np.array([b"a", b"\xff"], object), "x": np.array([0.5], np.float32)}
    back = tensors.arrays(tensors.messages(values), 1 << 20)
    for name, value in values.items():
        assert back[name].dtype == value.dtype
        np.testing.assert_array_equal(back[name], value)
    bomb = tf.make_tensor_proto(1.0)
    bomb.tensor_shape.CopyFrom(tf.TensorShape([1 << 20, 1 << 20]).as_proto())
    negative = tf.make_tensor_proto(1.0)
    negative.tensor_shape.CopyFrom(tf.TensorShape([None]).as_proto())
    short = tf.make_tensor_proto([1.0, 2.0])
    short.tensor_content = b"\0" * 7
    for one in (bomb, negative, short):
        with pytest.raises(Refused, match="'x'"):
            tensors.arrays({"x": one.SerializeToString()}, 1 << 20)
    texts = tf.make_tensor_proto([b"x" * 1000])
    texts.tensor_shape.CopyFrom(tf.TensorShape([600]).as_proto())
    repeated = texts.SerializeToString()
    assert tensors.arrays({"x": repeated}, 1 << 20)["x"].tolist() == [b"x" * 1000] * 600
    texts.tensor_shape.dim[0].size = 1100
    for inputs in ({"x": repeated, "y": repeated}, {"y": texts.SerializeToString()}):
        with pytest.raises(Refused, match="'y' has texts of more than"):
            tensors.arrays(inputs, 1 << 20)
    some = tensors.messages({"x": np.array(["a", None], object)})
    assert tensors.arrays(some, 1 << 20)["x"].tolist() == [b"a", b""]
    random = np.random.default_rng(0)
    good = tensors.messages(values)["x"]
    for _ in range(300):
        damaged = bytearray(good + random.bytes(3))
        damaged[random.integers(len(damaged))] = random.integers(256)
        try:
            tensors.arrays({"x": bytes(damaged)}, 1 << 20)
        except Refused:
            continue


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"host": "0.0.0.0"}, "host: 0.0.0.0 is visible"),
        ({"host": "::", "token": "x" * 9}, "visible"),
        ({"port": -1}, "port"),
        ({"tls_cert": "a"}, "together"),
        ({"name": "a/b"}, "name"),
        ({"token": "short"}, "token"),
        ({"max_batch": 0}, "max_batch"),
        ({"batch_ms": 30_000.0}, "batch_ms: 30000: no request may wait"),
    ],
)
def test_a_server_that_would_be_open_to_others_is_refused(
    options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    (tmp_path / "trained_model.pb").write_bytes(b"")
    with pytest.raises(OptionError, match=message):
        checked_settings(Settings(str(tmp_path), **options))
    assert checked_settings(Settings(str(tmp_path), host="0.0.0.0", token="x" * 9, tls_cert="a", tls_key="b"))


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    cryptography = pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization

    from elasticdl_nb.runtime.protocol import certificates

    key, certificate = certificates.issued("t" * 64, "served.internal")
    private = serialization.load_pem_private_key(key, None)
    locked = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    other = certificates.issued("t" * 64, "served.internal")[0]
    assert cryptography
    for name, content in (("cert", certificate), ("key", key), ("locked", locked), ("other", other), ("none", b"?")):
        (tmp_path / name).write_bytes(content)

    def settings(cert: str, key: str) -> Settings:
        return Settings(str(tmp_path), tls_cert=str(tmp_path / cert), tls_key=str(tmp_path / key))

    context, credentials = _tls(settings("cert", "key"))
    assert context is not None
    assert credentials is not None
    for cert, wrong, message in (
        ("cert", "locked", "encrypted with a password"), ("cert", "other", "mismatch"),
        ("none", "key", "cannot be used"), ("cert", "missing", "No such file"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=rf"tls_cert: .*{message}"):
            _tls(settings(cert, wrong))

"""Every form of the model contract is loaded the same way."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, ModelDefinition, load, load_function
from elasticdl_nb.runtime.model.loading.modules import describe

CLASS = """
    import keras
    import tensorflow as tf

    class Net(keras.Model):
        def __init__(self, units=1, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(units)

        def call(self, x):
            return self.dense(x)

        {body}
"""


def net(body: str) -> str:
    import textwrap

    return textwrap.dedent(CLASS).replace("{body}", textwrap.indent(textwrap.dedent(body), "    ").strip())


def loaded(root: Path, model_def: str = "m.Net", **given: Any) -> LoadedModel:
    return load(ModelDefinition(str(root), model_def, **given))


LABELS, OUTPUTS = tf.constant([[1.0], [3.0]]), tf.constant([[0.0], [0.0]])


@pytest.mark.parametrize(
    "body",
    [
        "default_loss = 'mse'",
        "default_loss = keras.losses.MeanSquaredError()",
        "default_loss = keras.losses.MeanSquaredError",
        "def default_loss(self): return keras.losses.MeanSquaredError()",
        "def default_loss(self): return 'mse'",
        "def default_loss(self): return lambda labels, outputs: (labels - outputs) ** 2",
        "def default_loss(self, labels, outputs): return (labels - outputs) ** 2",
        "def default_loss(labels, outputs): return (labels.flatten() - outputs.flatten()) ** 2",
        "@staticmethod\ndef default_loss(labels, outputs): return (labels - outputs) ** 2",
        "@staticmethod\ndef default_loss(): return keras.losses.MeanSquaredError()",
        "@classmethod\ndef default_loss(cls, labels, outputs): return (labels - outputs) ** 2",
        "default_loss = staticmethod(keras.losses.mean_squared_error)",
    ],
)
def test_a_default_loss_of_any_form_is_the_same_loss(write: Any, tmp_path: Path, body: str) -> None:
    write("m.py", net(body))
    model = loaded(tmp_path)
    assert float(model.compute_loss(LABELS, OUTPUTS)) == pytest.approx(5.0)
    assert float(tf.function(model.compute_loss)(LABELS, OUTPUTS)) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("body", "given"),
    [
        ("def default_optimizer(self, learning_rate=0.5): return keras.optimizers.SGD(learning_rate)", {}),
        ("def default_optimizer(learning_rate=0.5): return keras.optimizers.SGD(learning_rate)", {}),
        ("@staticmethod\ndef default_optimizer(learning_rate): return keras.optimizers.SGD(learning_rate)", {}),
        ("default_optimizer = keras.optimizers.SGD", {}),
        ("", {"optimizer": "sgd"}),
        ("", {"optimizer": "keras.optimizers.SGD"}),
        ("", {"optimizer": "m.make"}),
        ("", {"optimizer": "make"}),
    ],
)
def test_params_reach_an_optimizer_of_any_form(write: Any, tmp_path: Path, body: str, given: dict[str, str]) -> None:
    write("m.py", net(body) + "\ndef make(learning_rate=0.5): return keras.optimizers.SGD(learning_rate)\n")
    model = loaded(tmp_path, params={"units": 2, "learning_rate": 0.25}, **given)
    assert float(model.make_optimizer().learning_rate) == 0.25
    assert model.make_optimizer() is not model.make_optimizer()
    assert model.model.dense.units == 2


def test_an_optimizer_object_is_made_anew(write: Any, tmp_path: Path) -> None:
    write("m.py", net("default_optimizer = keras.optimizers.Adam(0.125)"))
    model = loaded(tmp_path)
    assert float(model.make_optimizer().learning_rate) == 0.125
    assert model.make_optimizer() is not model.make_optimizer()


def test_what_compile_was_given_serves_as_loss_and_optimizer(write: Any, tmp_path: Path) -> None:
    write("m.py", net("") + "\nmodel = Net()\nmodel.compile(keras.optimizers.SGD(0.5), 'mae')\n")
    model = loaded(tmp_path, "m")
    assert float(model.make_optimizer().learning_rate) == 0.5
    assert float(model.compute_loss(LABELS, OUTPUTS)) == 2.0


def test_options_win_over_defaults(write: Any, tmp_path: Path) -> None:
    write("m.py", net("default_loss = 'mse'") + "\ndef other(labels, outputs): return 7.0 * tf.ones([2])\n")
    assert float(loaded(tmp_path, loss="m.other").compute_loss(LABELS, OUTPUTS)) == 7.0
    assert float(loaded(tmp_path, loss="mae").compute_loss(LABELS, OUTPUTS)) == 2.0


@pytest.mark.parametrize(
    ("text", "model_def", "given", "error", "parts"),
    [
        ("def custom_model(): return 3", "m", {}, ModelError, ["returned int", "not a keras.Model"]),
        ("x = 1", "m", {}, OptionError, ["has no model", "custom_model"]),
        ("import absent_package", "m", {}, ModelError, ["importing m failed", "absent_package", "m.py, line 1"]),
        ("def custom_model():\n    return 1 / 0", "m", {}, ModelError, ["ZeroDivision", "m.py, line 2: return 1 / 0"]),
        ("raise SystemExit(3)", "m", {}, ModelError, ["SystemExit: 3"]),
        ("class Net: pass", "m.Net", {}, OptionError, ["not a keras.Model"]),
        (net(""), "m.Nett", {}, OptionError, ["'Nett'", "Did you mean 'Net'?"]),
        (net(""), "m.Net", {"params": {"unitz": 1}}, ModelError, ["unitz"]),
        (net("").replace(", **kwargs", "").replace("**kwargs", ""), "m.Net",
         {"params": {"unitz": 1}, "optimizer": "sgd"}, OptionError, ["params: unitz", "neither"]),
        (net(""), "m.Net", {"loss": "nope", "optimizer": "sgd"}, OptionError, ["loss: 'nope'"]),
        (net("def default_optimizer(self): return 3"), "m.Net", {}, ModelError, ["not a Keras optimizer"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(
    write: Any, tmp_path: Path, text: str, model_def: str, given: dict[str, Any], error: type, parts: list[str]
) -> None:
    write("m.py", text)
    with pytest.raises(error) as caught:
        model = loaded(tmp_path, model_def, **given)
        model.make_optimizer()
        model.compute_loss(LABELS, OUTPUTS)
    for part in parts:
        assert part in str(caught.value)


def test_errors_keep_their_cause(write: Any, tmp_path: Path) -> None:
    write("lib/deep.py", "def build():\n    raise KeyError('color')\n")
    write("m.py", "from lib.deep import build\ndef custom_model():\n    return build()\n")
    with pytest.raises(ModelError, match=r"KeyError: 'color' \(lib/deep.py, line 2: raise KeyError") as caught:
        loaded(tmp_path, "m")
    assert isinstance(caught.value.__cause__, KeyError)


def test_errors_say_what_keras_and_tensorflow_say_without_what_they_wrap_around_it(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("pick.py", "import tensorflow as tf\n@tf.function\ndef pick(x, place): return tf.gather(x, place)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(tf.errors.InvalidArgumentError) as graph:
        importlib.import_module("pick").pick(tf.zeros(3), tf.constant(9))
    line = "pick.py, line 3: def pick(x, place): return tf.gather(x, place)"
    assert describe(graph.value, str(tmp_path)) == f"InvalidArgumentError: indices = 9 is not in [0, 3) ({line})"
    with pytest.raises(ValueError) as layer:
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])(np.zeros((2, 3)))
    said = describe(layer.value, str(tmp_path))
    assert said.startswith("ValueError: Input 0 ") and said.endswith("received input with shape (2, 3)")


def test_code_of_a_notebook_is_named_by_its_cell(write: Any, tmp_path: Path) -> None:
    write("captured_from_session.py", "# Packaged\n\n# cell [3]\ndef build():\n    raise KeyError('color')\n")
    with pytest.raises(ModelError, match=r"^making build failed: KeyError: 'color' \(cell \[3\]: raise KeyError"):
        loaded(tmp_path, "captured_from_session.build")


def test_zoos_with_equal_names_do_not_mix(write: Any, tmp_path: Path) -> None:
    for number in (1, 2):
        write(f"zoo{number}/lib.py", f"UNITS = {number}\n")
        write(f"zoo{number}/m.py", "import lib\n" + net("").replace("units=1", "units=lib.UNITS"))
        assert loaded(tmp_path / f"zoo{number}").model.dense.units == number


def test_functions_of_a_zoo_are_loaded_without_a_model(write: Any, tmp_path: Path) -> None:
    write("prepare.py", "def one(filename): return filename + '!'\n")
    assert load_function(str(tmp_path), "prepare.one", "prepare")("a") == "a!"
    with pytest.raises(OptionError, match="two"):
        load_function(str(tmp_path), "prepare.two", "prepare")


EXTRAS = """
def callbacks():
    return [keras.callbacks.TerminateOnNaN()]

class PredictionOutputsProcessor:
    def process(self, predictions, worker_id):
        return worker_id
"""


def test_callbacks_and_the_predictions_processor(write: Any, tmp_path: Path) -> None:
    write("m.py", net("") + EXTRAS)
    model = loaded(tmp_path)
    assert isinstance(model.callbacks()[0], keras.callbacks.TerminateOnNaN)
    assert model.prediction_outputs_processor.process(None, 3) == 3
    write("n.py", net(""))
    assert loaded(tmp_path, "n.Net").callbacks() == []
    assert loaded(tmp_path, "n.Net").prediction_outputs_processor is None


@pytest.mark.parametrize("call", ["return self.dense(x)", "return self.dense(x['a'])"])
def test_a_one_key_dict_reaches_models_of_either_kind(write: Any, tmp_path: Path, call: str) -> None:
    write("m.py", net("").replace("return self.dense(x)", call))
    model = loaded(tmp_path)
    model.build({"a": tf.TensorSpec([None, 3], tf.float32)})
    assert [tuple(weight.shape) for weight in model.model.weights] == [(3, 1), (1,)]
    outputs = tf.function(model.call_model)({"a": tf.ones([4, 3])}, training=False)
    assert outputs.shape == (4, 1)


def test_the_first_batch_tells_what_the_form_of_the_data_leaves_open(write: Any, tmp_path: Path) -> None:
    write("m.py", """
        import keras

        class Net(keras.Model):
            def __init__(self):
                super().__init__()
                self.conv = keras.layers.Conv2D(2, 3)

            def call(self, x):
                return self.conv(x)

        def input_fn(record): return record, record
        """)  # fmt: skip
    spec = tf.TensorSpec([None, None, None, None], tf.float32)
    with pytest.raises(ModelError, match=r"calling m\.Net failed"):
        loaded(tmp_path).build(spec)
    model = loaded(tmp_path)
    model.build(spec, tf.zeros([2, 8, 8, 3]))
    assert model.model.conv.kernel.shape == (3, 3, 3, 2)
    assert model.call_model(tf.zeros([1, 5, 6, 3]), training=False).shape == (1, 3, 4, 2)
    assert model.signature.shape == (None, None, None, None)


def test_a_model_s_own_error_is_not_hidden_by_the_dict(write: Any, tmp_path: Path) -> None:
    write("m.py", net("").replace("return self.dense(x)", "raise RuntimeError('broken layer')"))
    with pytest.raises(ModelError, match="broken layer"):
        loaded(tmp_path).call_model({"a": tf.ones([4, 3])}, training=False)


# ------------------------------------------------------------------ batches


def chunks(columns: dict[str, list[Any]], size: int = 3) -> tf.data.Dataset:
    count = len(next(iter(columns.values())))
    arrays = {name: np.array(values) for name, values in columns.items()}

    def pieces() -> Any:
        for start in range(0, count, size):
            yield {name: array[start : start + size] for name, array in arrays.items()}

    spec = {name: tf.TensorSpec([None], array.dtype) for name, array in arrays.items()}
    return tf.data.Dataset.from_generator(pieces, output_signature=spec)


def run(root: Path, data: tf.data.Dataset, mode: Mode = Mode.TRAINING, seed: int | None = None, **given: Any) -> Any:
    model = loaded(root, **given)
    metadata = SimpleNamespace(column_names=["x", "y"], column_dtypes={})
    return model.batches(
        data, mode, metadata, form="columns", batch_size=4, shuffle_seed=seed, task_records=10
    )  # fmt: skip


INPUTS = """
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model import batched

def plain(record): return record["x"], record["y"]
def with_mode(record, mode): return record["x"] if mode == Mode.PREDICTION else (record["x"], record["y"])
def with_metadata(record, *, metadata): return record[metadata.column_names[0]], record[metadata.column_names[1]]
@batched
def whole(records): return records["x"], records["y"]
def mixed_up(record): return record["x"] + record["y"], record["y"]
def lonely(record): return record["x"]
def dataset(dataset, mode): return dataset.map(lambda record: (record["x"], record["y"]))
def dataset3(dataset, mode, metadata): return dataset.map(lambda r: tuple(r[c] for c in metadata.column_names))
@batched
def dataset_whole(dataset, mode): return dataset.map(lambda record: (record["x"], record["y"]))
def dataset_bad(dataset, mode): return dataset.map(lambda record: record["x"])
def lowered(record): return record["x"], tf.strings.lower(record["y"])
def listed(record): return [record["x"], -record["x"]], [record["y"]]
def many(record, mode):
    features = [record["x"], -record["x"], record["x"], -record["x"]]
    return features if mode == Mode.PREDICTION else (features, record["y"])
def few(record, mode):
    features = [record["x"], -record["x"]]
    return features if mode == Mode.PREDICTION else (features, record["y"])
def pair(record): return [record["x"], record["y"]]
"""
DATA = {"x": list(range(10)), "y": [2 * x for x in range(10)]}


@pytest.mark.parametrize(
    "given",
    [
        {"input_fn": "plain"}, {"input_fn": "with_mode"}, {"input_fn": "with_metadata"}, {"input_fn": "whole"},
        {"dataset_fn": "dataset"}, {"dataset_fn": "dataset3"}, {"dataset_fn": "dataset_whole"},
    ],
)  # fmt: skip
def test_every_form_of_input_gives_the_same_batches(write: Any, tmp_path: Path, given: dict[str, str]) -> None:
    write("m.py", net("") + INPUTS)
    data = run(tmp_path, chunks(DATA), **given)
    for _ in range(2):
        batches = [(x.numpy().tolist(), y.numpy().tolist()) for x, y in data]
        assert batches == [([0, 1, 2, 3], [0, 2, 4, 6]), ([4, 5, 6, 7], [8, 10, 12, 14]), ([8, 9], [16, 18])]


@pytest.mark.parametrize("name", ["plain", "whole"])
def test_shuffling_keeps_every_record_and_differs_by_iteration_not_by_run(
    write: Any, tmp_path: Path, name: str
) -> None:
    write("m.py", net("") + INPUTS)

    def orders(seed: int) -> list[list[int]]:
        data = run(tmp_path, chunks(DATA), seed=seed, input_fn=name)
        made = []
        for _ in range(3):
            pairs = [pair for x, y in data for pair in zip(x.numpy().tolist(), y.numpy().tolist(), strict=True)]
            assert sorted(pairs) == [(x, 2 * x) for x in range(10)]
            made.append([x for x, _ in pairs])
        return made

    first = orders(1)
    assert len({tuple(order) for order in first}) == 3
    assert orders(1) == first
    assert orders(2) != first


@pytest.mark.parametrize("given", [{"input_fn": "plain"}, {"input_fn": "whole"}, {"input_fn": "lonely"},
                                   {"dataset_fn": "dataset_bad"}])  # fmt: skip
def test_prediction_needs_no_label(write: Any, tmp_path: Path, given: dict[str, str]) -> None:
    write("m.py", net("") + INPUTS)
    data = run(tmp_path, chunks({"x": DATA["x"]}), Mode.PREDICTION, **given)
    assert np.concatenate([batch.numpy() for batch in data]).tolist() == DATA["x"]


@pytest.mark.parametrize("name", ["listed", "many", "few", "pair"])
def test_a_list_of_features_is_the_same_tensor_in_every_mode(write: Any, tmp_path: Path, name: str) -> None:
    write("m.py", net("") + INPUTS)
    trained = [features.numpy().tolist() for features, _ in run(tmp_path, chunks(DATA), input_fn=name)]
    if name == "few":
        with pytest.raises(ModelError, match="may be features, or features and label"):
            run(tmp_path, chunks({"x": DATA["x"]}), Mode.PREDICTION, input_fn=name)
        return
    predicted = run(tmp_path, chunks({"x": DATA["x"]}), Mode.PREDICTION, input_fn=name)
    assert [features.numpy().tolist() for features in predicted] == trained


def test_a_string_label_is_not_needed_either(write: Any, tmp_path: Path) -> None:
    write("m.py", net("") + INPUTS)
    data = run(tmp_path, chunks({"x": DATA["x"]}), Mode.PREDICTION, input_fn="lowered")
    assert sum(len(batch) for batch in data) == 10


def test_features_that_need_an_absent_column_are_an_error(write: Any, tmp_path: Path) -> None:
    write("m.py", net("") + INPUTS)
    with pytest.raises(ModelError, match="computed from y, which the data does not have"):
        run(tmp_path, chunks({"x": DATA["x"]}), Mode.PREDICTION, input_fn="mixed_up")


def test_a_missing_label_in_training_is_an_error_with_its_place(write: Any, tmp_path: Path) -> None:
    # AutoGraph takes equal functions on equal lines of two files for one, and would name the file of another test.
    write("m.py", "# Another first line.\n" + net("") + INPUTS)
    with pytest.raises(ModelError, match=r"KeyError: 'y' .*m.py, line"):
        run(tmp_path, chunks({"x": DATA["x"]}), input_fn="plain")
    with pytest.raises(ModelError, match=r"must return \(features, label\)"):
        run(tmp_path, chunks(DATA), input_fn="lonely")
    with pytest.raises(ModelError, match=r"dataset of \(features, label\)"):
        run(tmp_path, chunks(DATA), dataset_fn="dataset_bad")
    with pytest.raises(OptionError, match="default_input"):
        run(tmp_path, chunks(DATA))


EXAMPLES = """
def parse(record):
    parsed = tf.io.parse_single_example(record, {
        "x": tf.io.FixedLenFeature([2], tf.float32),
        "y": tf.io.FixedLenFeature([], tf.int64),
        "w": tf.io.FixedLenFeature([2], tf.float32),
    })
    return parsed["x"], tf.cast(parsed["y"], tf.float32) * parsed["w"][0]
"""


def test_examples_without_the_label_are_predicted_by_an_input_function_that_parses_it(
    write: Any, tmp_path: Path
) -> None:
    write("m.py", net("") + EXAMPLES)
    x = tf.train.Feature(float_list=tf.train.FloatList(value=[1, 2]))
    record = tf.train.Example(features=tf.train.Features(feature={"x": x})).SerializeToString()
    data = tf.data.Dataset.from_tensors([record] * 5)
    model = loaded(tmp_path, input_fn="parse")
    made = model.batches(
        data, Mode.PREDICTION, None, form="bytes", batch_size=4, shuffle_seed=None, task_records=5
    )  # fmt: skip
    assert [batch.numpy().tolist() for batch in made] == [[[1.0, 2.0]] * 4, [[1.0, 2.0]]]
    empty = tf.data.Dataset.from_tensors([tf.train.Example().SerializeToString()])
    strict = model.batches(
        empty, Mode.PREDICTION, None, form="bytes", batch_size=4, shuffle_seed=None, task_records=5
    )  # fmt: skip
    with pytest.raises(tf.errors.InvalidArgumentError, match="x"):
        list(strict)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, ModelDefinition, load
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo, check_model, check_requirements
from elasticdl_nb.runtime.spec import JobSpec

BATCH = 64


def example(**features: Any) -> bytes:
    """A serialized tf.Example."""
    made = {}
    for name, value in features.items():
        values = np.ravel(value).tolist()
        if isinstance(values[0], str):
            made[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[item.encode() for item in values]))
        elif isinstance(values[0], int):
            made[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        else:
            made[name] = tf.train.Feature(float_list=tf.train.FloatList(value=values))
    return tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString()


def chunks_of(data: Any, size: int = 100) -> tuple[tf.data.Dataset, str]:
    """Records of one of the three forms, as a reader hands them over, and the form's name."""
    if isinstance(data, Mapping):
        columns = {name: np.asarray(column) for name, column in data.items()}
        columns = {
            name: column.astype(object) if column.dtype.kind in "UOS" else column for name, column in columns.items()
        }
        spec: Any = {name: tf.TensorSpec([None], tf.as_dtype(_dtype(column))) for name, column in columns.items()}
        count, form = len(next(iter(columns.values()))), "columns"

        def piece(start: int) -> Any:
            return {name: column[start : start + size] for name, column in columns.items()}
    else:
        array = np.array(data, dtype=object)
        spec = tf.TensorSpec([None, *array.shape[1:]], tf.string)
        count, form = len(array), "strings" if array.ndim == 2 else "bytes"

        def piece(start: int) -> Any:
            return array[start : start + size]

    def chunks() -> Any:
        for start in range(0, count, size):
            yield piece(start)

    return tf.data.Dataset.from_generator(chunks, output_signature=spec), form


def _dtype(column: np.ndarray) -> Any:
    return tf.string if column.dtype.kind == "O" else column.dtype


class Trained:
    """A model of the built-in zoo, trained on a little data."""

    def __init__(self, model_def: str, data: Any, columns: Sequence[str] = (), dtypes: Any = None, **params: Any):
        spec = JobSpec.create("train", model_def=model_def, params=params, data="x", output="y", **_input(params))
        check_model(built_in_zoo(), spec)
        check_requirements(built_in_zoo())
        keras.utils.set_random_seed(0)
        self.metadata = SimpleNamespace(column_names=list(columns), column_dtypes=dtypes or {})
        self.loaded: LoadedModel = load(ModelDefinition.from_spec(spec, built_in_zoo()))
        self.data = data
        self.call = tf.function(self.loaded.call_model, reduce_retracing=True)

    def batches(self, mode: Mode, data: Any = None) -> tf.data.Dataset:
        chunks, form = chunks_of(self.data if data is None else data)
        seed = 1 if mode is Mode.TRAINING else None
        return self.loaded.batches(
            chunks, mode, self.metadata, form=form, batch_size=BATCH, shuffle_seed=seed, task_records=1000
        )

    def train(self, epochs: int) -> dict[str, float]:
        """Train, check that the loss fell, and return the metrics on the same data."""
        loaded = self.loaded
        batches = self.batches(Mode.TRAINING)
        loaded.build(batches.element_spec[0])
        optimizer = loaded.make_optimizer()
        optimizer.build(loaded.model.trainable_variables)

        @tf.function(reduce_retracing=True)
        def step(features: Any, labels: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = loaded.compute_loss(labels, loaded.call_model(features, training=True))
            variables = loaded.model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        losses = [np.mean([float(step(*batch)) for batch in batches]) for _ in range(epochs)]
        assert losses[-1] < losses[0], losses
        return self.evaluate()

    def evaluate(self, data: Any = None) -> dict[str, float]:
        metrics = self.loaded.metrics()
        for features, labels in self.batches(Mode.EVALUATION, data):
            outputs = self.call(features, training=False)
            metrics.update(labels, outputs, self.loaded.compute_loss(labels, outputs), len(labels))
        return metrics.results()

    def predict(self, data: Any) -> np.ndarray:
        return np.concatenate([self.call(x, training=False) for x in self.batches(Mode.PREDICTION, data)])


def _input(params: dict[str, Any]) -> dict[str, Any]:
    return {"input_fn": params.pop("input_fn")} if "input_fn" in params else {}

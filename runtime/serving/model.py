"""One version of a trained model, ready to predict.

Importing this module loads TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from elasticdl_nb.runtime.data.tensors import original_error
from elasticdl_nb.runtime.errors import ElasticDLError, ModelError
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.forms import form_of
from elasticdl_nb.runtime.model.saving.opening import open_trained
from elasticdl_nb.runtime.model.saving.settings import settings_of_a_new_process
from elasticdl_nb.runtime.serving.columns import DTYPES, MOMENTS, WHOLE, numbers, with_missing
from elasticdl_nb.runtime.serving.form import Form, Values
from elasticdl_nb.runtime.serving.problems import Problem, Refused, invalid

INPUT, OUTPUT = "inputs", "prediction"
"""What a model's only input and its only output are called if they have no names."""

_ID = re.compile(r"DataError: (embedding .*)")
"""What TensorFlow tells of an error that looking up rows raised: its text alone."""


class ServedModel:
    """A model whose `inputs` and `outputs` are known; `predict` may be called from one thread at a time.

    A model that was trained with a label, or in SQL, takes the table's columns. Raises what `open_model` raises, and
    ModelError for a model whose features are not dense tensors.
    """

    def __init__(self, path: str) -> None:
        with settings_of_a_new_process():
            self._open(path)
        self._try()

    def _open(self, path: str) -> None:
        loaded = open_trained(path)
        self._kinds = _kinds(loaded)
        self._structure, self._specs = _inputs(loaded, self._kinds)
        self.inputs = {
            name: Form(spec.dtype.name, tuple(spec.shape.as_list()[1:])) for name, spec in self._specs.items()
        }
        self.inputs |= {name: Form(DTYPES[kind], (), kind) for name, kind in self._kinds.items()}
        self._loaded, self._rows = loaded, loaded.rows
        self._function = self._traced(self._specs)
        self._missing = None
        if whole := {name: tf.TensorSpec([None], tf.float64) for name, kind in self._kinds.items() if kind in WHOLE}:
            self._missing = self._traced(self._specs | whole)
        outputs = self._function.structured_outputs
        self.outputs = {name: Form(one.dtype.name, tuple(one.shape.as_list()[1:])) for name, one in outputs.items()}
        if self._rows is not None:
            decoded = self._rows.decoded({
                name: np.zeros((1, *(size or 1 for size in one.shape)), one.numpy)
                for name, one in self.outputs.items()
            })  # fmt: skip
            self.outputs = {
                name: Form("string" if value.dtype == object else value.dtype.name, ())
                for name, value in decoded.items()
            }

    def _traced(self, specs: Mapping[str, tf.TensorSpec]) -> Any:
        named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}
        return tf.function(self._call, autograph=False).get_concrete_function(named)

    def _call(self, given: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        loaded = self._loaded
        if self._rows is not None:
            outputs = loaded.call_model(self._rows.features(dict(given)), training=False)
            meaning: dict[str, tf.Tensor] = self._rows.predictions(outputs)
            return meaning
        features = tf.nest.pack_sequence_as(self._structure, [given[name] for name in self._specs])
        return _named(loaded.call_model(features, training=False))

    def _try(self) -> None:
        """Compute one record of zeros, so that nothing is left to be done by the first request."""
        records = {}
        for name, form in self.inputs.items():
            records[name] = np.zeros((1, *(size or 1 for size in form.shape)), form.numpy)
            if form.dtype == "string":
                records[name][...] = b""
        try:
            self.predict(records)
        except Refused:  # zeros may be no valid record
            return

    def _columns(self, inputs: Values) -> tuple[Values, Any]:
        """Return inputs as the model gets them, and the function for their types."""
        if not self._kinds:
            return inputs, self._function
        columns = dict(inputs) | {
            name: numbers(name, kind, inputs[name]) for name, kind in self._kinds.items() if kind in MOMENTS
        }
        columns = with_missing(columns, self._kinds)
        floats = any(columns[name].dtype == np.float64 for name, kind in self._kinds.items() if kind in WHOLE)
        return columns, self._missing if floats else self._function

    def predict(self, inputs: Values) -> dict[str, NDArray[Any]]:
        """Return the outputs for checked inputs. Raises Refused for values that the model cannot take."""
        columns, function = self._columns(inputs)
        try:
            tensors = {name: tf.constant(value) for name, value in columns.items()}
            outputs = {name: value.numpy() for name, value in function(tensors).items()}
            return outputs if self._rows is None else dict(self._rows.decoded(outputs))
        except ElasticDLError as error:
            raise invalid(str(error)) from None
        except Exception as error:
            # TensorFlow's wrapper of what a function of ours raised, or its own word on a value.
            original = original_error(error)
            if isinstance(original, ElasticDLError):
                raise invalid(str(original)) from None
            kind = Problem.INVALID if isinstance(error, tf.errors.InvalidArgumentError) else Problem.FAILED
            if told := _ID.search(str(error)):
                raise invalid(told[1]) from None
            raise Refused(kind, f"the model cannot predict: {type(error).__name__}: {_sentence(str(error))}") from None


def _kinds(loaded: LoadedModel) -> dict[str, str]:
    """Return the kinds of the columns of a model that takes rows of a table, by name; {} for others."""
    kinds: dict[str, str] = {} if loaded.rows is None else loaded.rows.columns
    if other := [name for name, kind in kinds.items() if kind not in DTYPES]:
        raise ModelError(f"a model that reads the column {other[0]!r}, a {kinds[other[0]]}, cannot be served")
    return kinds


def _inputs(loaded: LoadedModel, kinds: Mapping[str, str]) -> tuple[Any, dict[str, tf.TensorSpec]]:
    """Return the structure of a model's features, and their specs by name."""
    if kinds:
        types = {"text": "string", "integer": "int64", "boolean": "bool"}
        return None, {name: tf.TensorSpec([None], types.get(kind, "float64")) for name, kind in kinds.items()}
    structure = form_of(loaded)
    if isinstance(structure, Mapping):
        names = [str(name) for name in sorted(structure)]
    elif isinstance(structure, (list, tuple)):
        names = [f"{INPUT}_{number}" for number in range(len(structure))]
    else:
        names = [INPUT]
    flat = tf.nest.flatten(structure)
    if len(flat) != len(names):
        raise ModelError("a model whose inputs are nested in each other cannot be served; give them names in one dict")
    return structure, dict(zip(names, flat, strict=True))


def _named(outputs: Any, above: str = "") -> dict[str, tf.Tensor]:
    """Return outputs by name, as predictions of jobs are named."""
    if isinstance(outputs, Mapping):
        parts = {f"{above}_{name}" if above else str(name): value for name, value in outputs.items()}
    elif isinstance(outputs, (list, tuple)):
        parts = {f"{above or OUTPUT}_{number}": value for number, value in enumerate(outputs)}
    else:
        return {above or OUTPUT: tf.convert_to_tensor(outputs)}
    return {name: tensor for part, value in parts.items() for name, tensor in _named(value, part).items()}


def _sentence(text: str) -> str:
    """Return the line of an error of TensorFlow that says what is wrong: it comes before the node's name."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    node = next((number for number, line in enumerate(lines) if line.startswith("[[{{node")), 1)
    return lines[max(0, node - 1)]

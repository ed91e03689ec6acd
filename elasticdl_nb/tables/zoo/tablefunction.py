"""The input function of a model that is trained with `label`: made from a record, and bound to the model it feeds.

The module that zoos get (see `elasticdl_nb.given.tables`) imports `TableFunction` from here: this name must not change.
"""

from pathlib import Path

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model import batched
from elasticdl_nb.tables.labelform import label_form
from elasticdl_nb.tables.matching import match
from elasticdl_nb.tables.tablerecord import read_record
from elasticdl_nb.tables.zoo.fitting import Fitting
from elasticdl_nb.tables.zoo.inputvalues import InputValues
from elasticdl_nb.tables.zoo.kerasshape import head_of, inputs_of


@batched
class TableFunction:
    """What becomes of a table's columns; `bind` says what becomes of them for one model."""

    def __init__(self, record):
        self.record = record

    @classmethod
    def read(cls, path):
        """Return the function of the record in this file; raises RecordError."""
        return cls(read_record(Path(path).read_bytes()))

    def __call__(self, columns, mode):
        """Fail: what a model gets of the columns depends on the model."""
        raise ModelError("the columns of a table are for the model that was trained on them")

    def bind(self, model, loss):
        """Return the input function for this model, which has this loss: a Keras loss, its name, a function, or None.

        Raises ModelError, in a sentence that says what would do, if model and columns do not fit.
        """
        return BoundTable(self.record, model, loss)


@batched
class BoundTable:
    """The input function of one model. `notes` say what it does; `fitting` is what fits a model that lacks a loss."""

    __name__ = "the table's input function"

    def __init__(self, record, model, loss):
        self.record = record
        inputs, self._structure = inputs_of(model, record)
        self._plans, notes = match(record, inputs)
        head = head_of(model)
        self.form = label_form(record.label, head, _loss_name(loss), own_loss=loss is not None)
        self.fitting = Fitting(record.label, self.form, head)
        self.notes = [*notes, *([] if loss is not None else [self.fitting.note()])]
        self._values = InputValues(record.kinds)

    def __call__(self, columns, mode):
        """Turn columns [n] into what the model takes, and the label unless the mode is prediction."""
        features = self.features(columns)
        if mode == Mode.PREDICTION:
            # In a tuple of its own, as a model may take a tuple.
            return (features,) if isinstance(features, tuple) else features
        self._check_columns(columns, [self.record.label.column])
        return features, self._values.label(columns, self.record.label, self.form)

    @property
    def columns(self):
        """The kinds of the columns that the model reads, by name."""
        return {name: self.record.kinds[name] for name in dict.fromkeys(self._names())}

    def features(self, columns):
        """Return what the model takes, for columns [n]; raises ModelError for one that is missing."""
        self._check_columns(columns, self._names())
        made = {plan.target.name: self._values.of(plan, columns) for plan in self._plans}
        made = keras.tree.map_structure(lambda name: made[name], self._structure)
        return tuple(made) if isinstance(made, list) else made

    def predictions(self, outputs):
        """Return columns for outputs of the model, tensors in the graph that computes them: see `decoded`."""
        return self.fitting.predictions(outputs)

    def decoded(self, predictions):
        """Return the columns of a prediction, NumPy arrays [n]: `prediction`, and the `probability` of a class."""
        return self.fitting.decoded(predictions)

    def for_rows(self, model):
        """Return a model that takes rows of a table: see `RowModel`."""
        from elasticdl_nb.tables.zoo.rowmodel import RowModel

        return RowModel(model, self)

    @property
    def told(self):
        """Everything that users should know of the table's columns."""
        return [*self.record.notes, *self.notes]

    def _names(self):
        names = [plan.column.name for plan in self._plans if plan.column is not None]
        return [*names, *(name for plan in self._plans for slot in plan.slots for name in slot.feature.columns())]

    def _check_columns(self, columns, names):
        absent = list(dict.fromkeys(name for name in names if name not in columns))
        if absent:
            raise ModelError(f"the data has no column {' and '.join(map(repr, absent))}, which the model needs")
        for name in names:
            kind, texts = self.record.kinds[name], columns[name].dtype == tf.string
            if texts and kind != "text":
                raise ModelError(f"the column {name!r} has texts, but the model was trained with {kind} values")


def _loss_name(loss):
    """Return the name of a Keras loss, as Keras' functions are named; "" for any other."""
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # a function of the model's module
            return ""
    kind = type(loss) if isinstance(loss, keras.losses.Loss) else loss
    name = getattr(kind, "__name__", "")
    if name == "LossFunctionWrapper" or not (getattr(kind, "__module__", None) or "").startswith("keras."):
        return ""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    return snake.replace("k_l_", "kl_")

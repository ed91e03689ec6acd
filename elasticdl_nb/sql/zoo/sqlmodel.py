"""The model contract of a model that is trained in SQL: the model its statement names, on top of its features.

The zoo of every such model imports `SqlModel` from here (see `sql.models.zoofolder`): this name must not change.
"""

import functools
import importlib
from pathlib import Path

import keras

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model import batched
from elasticdl_nb.runtime.model.contract import CLASS_NAMES, LABELS_FIRST, MODULE_NAMES
from elasticdl_nb.runtime.model.loading.calls import attribute_of, positional
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.model.loading.losses import OptimizerSource, as_keras_loss, is_of_keras
from elasticdl_nb.runtime.model.reading.keras_names import METRICS
from elasticdl_nb.runtime.model.saving.trained import is_remote, read_trained_model
from elasticdl_nb.runtime.model.saving.weights import load_weights, load_weights_without_rows
from elasticdl_nb.sql.record.modelrecord import OWN_STEPS
from elasticdl_nb.sql.record.recordjson import read_record
from elasticdl_nb.sql.zoo.fittedmetrics import make_metric
from elasticdl_nb.sql.zoo.rows import Rows
from elasticdl_nb.sql.zoo.tableinput import TableInput
from elasticdl_nb.sql.zoo.tablelayers import FeatureModel


class SqlModel:
    """Everything that the model contract requires, made from the record in this file; raises RecordError."""

    def __init__(self, path):
        self.record = read_record(Path(path).read_bytes())
        self.module = importlib.import_module(self.record.module)
        self.model_class = getattr(self.module, self.record.class_name)
        self._input = TableInput(self.record.features, self.record.kinds, self.record.label)
        self._model = None
        self._whole = None
        self._initial = self.record.initial

    @property
    def rows(self):
        """What takes rows of the query for this model, for a server of predictions."""
        return Rows(self.record, self._input)

    def custom_model(self, **params):
        """Return the model, constructed with the statement's attributes."""
        self._model = self.model_class(**params)
        features, scale, asked = self.record.features, self.record.label.scale, self.record.attributions
        if asked is not None:
            from elasticdl_nb.sql.zoo.attributions import AttributionModel

            return AttributionModel(self._model, features, scale, asked.columns, asked.steps)
        self._whole = FeatureModel(self._model, features, scale)
        return self._whole

    @batched
    def input_fn(self, columns, mode):
        """Turn the query's columns into features and the label."""
        return self._input(columns, mode)

    def loss(self):
        """Return the model's own loss, or the one that the statement names."""
        wanted = self.record.loss
        loss = keras.losses.get(wanted.name) if wanted.name else as_keras_loss(self._part("loss"), "the model's loss")
        return with_arguments(loss, wanted.arguments) if wanted.arguments else loss

    def optimizer(self):
        """The model's own optimizer, or the one that the statement names, with the statement's arguments.

        This is called when the model has its variables. If the model continues from another one, they get its values.
        """
        if hidden := sorted(own_methods(self._model)):
            raise ModelError(f"{self.record.class_name}.{hidden[0]}: {OWN_STEPS}")
        if self._initial and self._whole.built:
            message, definition = read_trained_model(self._initial)
            # Rows come from the checkpoint that the job begins with, wherever the strategy has them; see sql.verbs.
            load = load_weights if is_remote(self._initial) else load_weights_without_rows
            load(self._whole, definition.weights, message.variables)
            self._initial = ""
        wanted = self.record.optimizer
        source = OptimizerSource(wanted.name or self._part("optimizer") or "Adam", "the model's optimizer")
        made = source.make({})
        return type(made).from_config({**made.get_config(), **wanted.arguments})

    @property
    def eval_metrics_fn(self):
        """The model's own metrics, in either form of a function; by default, the accuracy if it predicts classes."""
        names = CLASS_NAMES["eval_metrics_fn"]
        own = next((getattr(self.model_class, name) for name in names if hasattr(self.model_class, name)), None)
        own = own or next((getattr(self.module, name) for name in names if hasattr(self.module, name)), None)
        arguments = [parameter.name for parameter in positional(own) if parameter.name != "self"] if own else []
        if len(arguments) < 2:
            return self._metrics
        if arguments[0] in LABELS_FIRST:
            return lambda labels, predictions: self._part("eval_metrics_fn")(labels, predictions)
        return lambda predictions, labels: self._part("eval_metrics_fn")(predictions, labels)

    def _metrics(self):
        found = self._part("eval_metrics_fn")
        if found is None:
            return [make_metric("accuracy")] if self.record.label.classes else {}
        return found() if callable(found) else found

    @staticmethod
    def metric(name):
        """Return a new metric by its name, adapted to these models; raises AttributeError for any other name."""
        if name != "accuracy" and name not in METRICS:
            raise AttributeError(name)
        return make_metric(name)

    def callbacks(self):
        """The model's own callbacks."""
        found = self._part("callbacks")
        made = found() if callable(found) else found
        return list(made or [])

    def _part(self, role):
        value = attribute_of(self._model, CLASS_NAMES[role])
        if value is not None:
            return value
        return next((getattr(self.module, name) for name in MODULE_NAMES[role] if hasattr(self.module, name)), None)


def with_arguments(loss, arguments):
    """Return Keras' loss, an object, a function or a name, with other arguments; raises ModelError for any other."""
    loss = keras.losses.get(loss) if isinstance(loss, str) else loss
    if isinstance(loss, keras.losses.Loss) and is_of_keras(type(loss)):
        return type(loss).from_config({**loss.get_config(), **arguments})
    if not callable(loss) or not is_of_keras(loss):
        raise ModelError(f"the model's loss takes no arguments ({', '.join(arguments)}): it is not one of Keras' own")
    return functools.wraps(loss)(lambda labels, outputs: loss(labels, outputs, **arguments))

"""Loading a user's model and everything that belongs to it, in every form of the model contract.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.contract import (
    CLASS_NAMES,
    MODULE_NAMES,
    SQL_MODEL,
    TABLE_INPUT,
    ModelDefinition,
)
from elasticdl_nb.runtime.model.loading.assigning import assigned, may_assign
from elasticdl_nb.runtime.model.loading.calls import attribute_of
from elasticdl_nb.runtime.model.loading.compiling import compile_model, optimizer_as_compiled, own_methods
from elasticdl_nb.runtime.model.loading.customreader import CustomReader
from elasticdl_nb.runtime.model.loading.dictfeatures import FeatureForm
from elasticdl_nb.runtime.model.loading.inputs import make_batches, taken_at_once
from elasticdl_nb.runtime.model.loading.losses import OptimizerSource, as_keras_loss
from elasticdl_nb.runtime.model.loading.making import make_model, named
from elasticdl_nb.runtime.model.loading.metricstates import MetricSet, make_metrics
from elasticdl_nb.runtime.model.loading.modules import find, import_from_zoo, user_code
from elasticdl_nb.runtime.model.loading.stepwise import RememberingFinder
from elasticdl_nb.runtime.model.reading.source import Zoo
from elasticdl_nb.runtime.model.saving import blueprint, kept, names

__all__ = ["LoadedModel", "MetricSet", "ModelDefinition", "load", "load_function"]

# What a job with a label takes from it where the model has none: see `elasticdl_nb.tables.zoo.fitting`.
_FITTED = {"loss": "loss", "optimizer": "optimizer", "eval_metrics_fn": "metrics"}


def load(definition: ModelDefinition) -> LoadedModel:
    """Import the model's module from its zoo and make the model.

    Call `keras.utils.set_random_seed` before, for the same initial weights every time. Raises OptionError for a name
    that does not exist or parameters that nothing takes, and ModelError if the user's code fails or does not follow
    the model contract.
    """
    zoo = Zoo(definition.zoo)
    RememberingFinder.use(definition.zoo, names.read(definition.state) if definition.state else {}, names.put)
    module = import_from_zoo(zoo, zoo.locate(definition.model_def).module)
    made = make_model(definition, zoo, module)
    loaded = LoadedModel(definition, zoo, module, made.model, made.left)
    loaded.notes += made.notes
    if not definition.weights:
        loaded.blueprint = blueprint.blueprint_of(made.model, loaded.root)
        loaded.names = names.names_of(loaded.root, made.model)
    return loaded


def load_function(zoo: str, name: str, option: str, *, model_def: str = "") -> Any:
    """Import a function from a zoo by its dotted name, without making a model.

    A bare name is looked up in the module of `model_def`. Raises OptionError(option, …) if it does not exist.
    """
    source = Zoo(zoo)
    module = import_from_zoo(source, source.locate(model_def).module) if model_def else None
    return find(source, name, option, module)


# ------------------------------------------------------------------ the loaded model


class LoadedModel:
    """A model with its loss, optimizer, input, metrics and callbacks, all in one form; see `load`."""

    def __init__(
        self, definition: ModelDefinition, zoo: Zoo, module: ModuleType, model: keras.Model, left: dict[str, Any]
    ) -> None:
        self.definition = definition
        self.model = model
        self._zoo = zoo
        self._module = module
        self._root = os.fspath(zoo.root)
        self._form = FeatureForm(model)
        self._features_spec: Any = None
        self._compiled = False
        self.notes: list[str] = []
        self.blueprint, self.names = "", ""
        self._optimizer: OptimizerSource | None = None
        self._optimizer_params = left
        self._lacking: set[str] = set()
        self._table = self._bound_to_table()
        if self._table is not None:
            self._lacking = {role for role in _FITTED if not model.compiled or getattr(model, role, "kept") is None}
        optimizer = self._part("optimizer")
        if optimizer is not None:
            self._optimizer = OptimizerSource(*optimizer)
        self._check_left_over()
        processor = self._part("prediction_outputs_processor")
        self.prediction_outputs_processor = None if processor is None else self._make_processor(*processor)

    # ------------------------------------------------------------ training

    def make_optimizer(self) -> keras.optimizers.Optimizer:
        """Return a new optimizer, made with those `params` that the model's constructor does not take."""
        if self._optimizer is None:
            if getattr(self.model, "optimizer", None) is None:
                raise OptionError("optimizer", self._absent("optimizer"))
            return optimizer_as_compiled(self.model, fresh=True)
        with user_code(self._optimizer.where, self._root):
            return self._optimizer.make(self._optimizer_params)

    def compile(self) -> None:
        """Compile the model as for `fit`, with a new optimizer, the loss and whatever else its author gave.

        An option wins over the functions of class and module, and those over the model's own `compile()`, of which all
        the rest is kept: loss weights, metrics, how it is run. Raises ModelError if Keras does not accept it.
        """
        self._compiled = True
        loss = self._part("loss")
        given: dict[str, Any] = {}
        if loss is not None:
            with user_code(loss[1], self._root):
                given["loss"] = as_keras_loss(*loss)
        if self._optimizer is not None:
            given["optimizer"] = self.make_optimizer()
        with user_code("compile()", self._root):
            compile_model(self.model, given)

    def compile_once(self) -> None:
        """Compile the model unless that has been done."""
        if not self._compiled:
            self.compile()

    @property
    def has_loss(self) -> bool:
        """Whether there is something to minimize: a loss, losses of the model's own, or steps that know better."""
        model = self.model
        return (
            model._compile_loss is not None
            or bool(model.losses)
            or bool({"compute_loss", "train_step", "make_train_function"} & own_methods(model))
        )

    def check_loss(self) -> None:
        """Raise OptionError if the compiled model has no loss."""
        if not self.has_loss:
            raise OptionError("loss", self._absent("loss"))

    def compute_loss(
        self, labels: Any, outputs: Any, *, features: Any = None, weights: Any = None, training: bool = True
    ) -> Any:
        """Return a batch's loss as Keras computes it, a scalar tensor: weighted, masked, with the model's own losses.

        Works eagerly and inside a tf.function. Raises ModelError if the user's function fails.
        """
        self.compile_once()
        self.check_loss()
        with user_code("the loss", self._root):
            return self.model._compute_loss(
                x=self._form.picked(features), y=labels, y_pred=outputs, sample_weight=weights, training=training
            )

    def forward(self, batch: Sequence[Any], training: bool) -> tuple[Any, Any]:
        """Return the model's outputs for a batch (features[, labels[, sample weights]]), and its loss."""
        features, labels, weights = keras.utils.unpack_x_y_sample_weight(tuple(batch))
        outputs = self.call_model(features, training)
        return outputs, self.compute_loss(
            labels, outputs, features=features, weights=weights, training=training
        )  # fmt: skip

    def training_logs(self, batch: Sequence[Any], outputs: Any, loss: Any) -> dict[str, Any]:
        """Return a training step's loss, and the metrics of the epoch so far if the model has any.

        A model with several losses has one for each of them.
        """
        return {**self.logs(batch, outputs, loss), "loss": loss} if self.measures else {"loss": loss}

    @property
    def measures(self) -> bool:
        """Whether a training step returns more than the loss."""
        model = self.model
        several = model._compile_loss is not None and bool(model._compile_loss.metrics)
        return model._compile_metrics is not None or several or bool(own_methods(model)) or bool(model._metrics)

    def kept_metrics(self) -> list[tuple[Any, np.ndarray]]:
        """Return the present states of the model's metrics, for `give_back_metrics`."""
        variables = [variable for metric in self.model.metrics for variable in metric.variables]
        return [(variable, keras.ops.convert_to_numpy(variable).copy()) for variable in variables]

    def give_back_metrics(self, kept: Iterable[tuple[Any, np.ndarray]]) -> None:
        """Let the model's metrics go on from where they were, as if nothing had been measured since."""
        self.model.reset_metrics()
        for variable, value in kept:
            variable.assign(value)

    def logs(self, batch: Sequence[Any], outputs: Any, loss: Any) -> Mapping[str, Any]:
        """Add a batch to the model's metrics, and return what Keras' own steps return: their values so far."""
        features, labels, weights = keras.utils.unpack_x_y_sample_weight(tuple(batch))
        self.model._loss_tracker.update_state(loss, sample_weight=tf.shape(tf.nest.flatten(features)[0])[0])
        with self.user_code("the metrics"):
            logs: Mapping[str, Any] = self.model.compute_metrics(
                self._form.picked(features), labels, outputs, sample_weight=weights
            )
        return logs

    def user_code(self, doing: str) -> contextlib.AbstractContextManager[None]:
        """In this block, the model's own code runs: its errors become ModelErrors."""
        return user_code(doing, self._root)

    def data_for_keras(self, batch: Sequence[Any]) -> Any:
        """Return a batch as `fit` passes it to the model's own steps: features without labels come alone."""
        return keras.utils.pack_x_y_sample_weight(self._form.picked(batch[0]), *batch[1:])

    def callbacks(self) -> list[keras.callbacks.Callback]:
        """Return new callbacks from the model's `callbacks()`; none if it has no such function."""
        found = self._part("callbacks")
        if found is None:
            return []
        given, where = found
        with user_code(where, self._root):
            made = given() if callable(given) else given
        made = [made] if isinstance(made, keras.callbacks.Callback) else list(made or [])
        for callback in made:
            if not isinstance(callback, keras.callbacks.Callback):
                raise ModelError(f"{where} returned {callback!r}, which is not a keras.callbacks.Callback")
        return made

    def metrics(self) -> MetricSet:
        """Return a new set of the model's metrics; it has at least the mean loss."""
        found = self._part("eval_metrics_fn")
        if found is None:
            return MetricSet()
        with user_code(found[1], self._root):
            return make_metrics(found[0])

    # ------------------------------------------------------------ data

    def batches(
        self,
        chunks: tf.data.Dataset,
        mode: Mode,
        metadata: Any,
        *,
        form: str,
        batch_size: int,
        shuffle_seed: int | None,
        task_records: int,
        number: Any = None,
        weight_column: str = "",
        class_weights: Mapping[str, float] | None = None,
    ) -> tf.data.Dataset:
        """Return the batches of the records that `chunks` yields, each time it is iterated.

        Elements of `chunks` are chunks of records: string [n] (form "bytes"), string [n, columns] ("strings") or a
        dict of name to tensor [n, …] ("columns"). Elements of the result are (features, labels), (features, labels,
        sample weights), (features,) for a model that needs no labels, or only the features when predicting. With
        `shuffle_seed`, the records within a task of up to `task_records` are shuffled, in an order that depends on
        `number` (a scalar int64 tensor), or else on the iteration; None keeps their order. Raises ModelError if the
        user's function fails or returns something else.
        """
        input_fn, dataset_fn = self._input()
        return make_batches(
            chunks,
            mode,
            metadata,
            input_fn=input_fn,
            dataset_fn=dataset_fn,
            root=self._root,
            batch_size=batch_size,
            shuffle_seed=shuffle_seed,
            task_records=task_records,
            number=number,
            needs_labels=self._needs_labels,
            weight_column=weight_column,
            class_weights=class_weights,
        )

    def records_at_once(self, batch_size: int, task_records: int) -> int | None:
        """Return how many records `batches` parses at a time; None if it parses them one by one."""
        return taken_at_once(*self._input(), batch_size, task_records)

    @property
    def _needs_labels(self) -> bool:
        compiled_without_loss = self.model.compiled and self.model._compile_loss is None
        if {"compute_loss", "train_step", "make_train_function"} & own_methods(self.model):
            return False
        return self._part("loss") is not None or not compiled_without_loss

    @property
    def has_custom_data_reader(self) -> bool:
        """Whether the model has a reader of its own; raises OptionError if the job's options do not mention it."""
        found = self._part("custom_data_reader")
        if found is not None and not self.definition.custom_data_reader:
            raise OptionError(
                "custom_data_reader",
                f"{found[1]} is visible only once the module is imported; give custom_data_reader={found[1]}",
            )
        return found is not None

    def open_custom_data(self, data: Sequence[str], params: Mapping[str, Any], records_per_task: int) -> CustomReader:
        """Return the model's own reader for one of the job's data options; see `CustomReader`."""
        found = self._part("custom_data_reader")
        assert found is not None, "has_custom_data_reader is false"
        name = self.definition.custom_data_reader
        where = name if "." in name else f"{self._module.__name__}.{name}"
        return CustomReader(found[0], where, self._root, data, params, records_per_task)

    @property
    def maps_records(self) -> bool:
        """Whether an input function turns records into features, rather than a dataset_fn that maps a dataset."""
        return self._input()[0] is not None

    def build(self, features_spec: Any, batch: Any = None) -> None:
        """Create the model's variables for features of this form (the `element_spec` of the features in `batches`).

        A batch of features settles sizes that the form leaves open, if the model must know them.
        """
        with user_code(f"calling {self.definition.model_def}", self._root):
            self._form.build(features_spec, batch)
        self._features_spec = features_spec

    def assigned_in_call(self) -> list[Any]:
        """Return the trained weights that a built model assigns while it is called, as in SpectralNormalization."""
        if self._features_spec is None or not may_assign(self.model):
            return []
        call = partial(self.call_model, training=True)
        return assigned(call, self._features_spec, self.model.trainable_variables)

    @property
    def signature(self) -> Any:
        """The TensorSpecs of the features that the built model takes; None if it declares its inputs itself."""
        return self._form.signature()

    def call_model(self, features: Any, training: bool) -> Any:
        """Return the model's outputs for a batch, eagerly or inside a tf.function.

        A model that expects a tensor gets the only value of a dict with one key.
        """
        with user_code(f"calling {self.definition.model_def}", self._root):
            return self._form.call(features, training)

    # ------------------------------------------------------------ tables

    @property
    def table(self) -> Any:
        """What becomes of a table's columns for this model (`tables.zoo.tablefunction.BoundTable`), or None."""
        return self._table

    @property
    def rows(self) -> Any:
        """What takes rows of a table for this model, or None: `table`, or what SQL has (`sql.zoo.rows.Rows`).

        It has `columns`, `features`, `predictions` and `decoded`, as the table has.
        """
        if self._table is not None:
            return self._table
        if self.definition.model_def.partition(".")[0] != SQL_MODEL:
            return None
        return getattr(getattr(self._input()[0], "__self__", None), "rows", None)

    # ------------------------------------------------------------ what it keeps beside weights

    @property
    def root(self) -> str:
        """The folder of the model's zoo."""
        return self._root

    def write_state(self, folder: Path) -> None:
        """Write what a trained model is and keeps beside its weights: what `load` reads, and `take_back`."""
        folder.mkdir()
        kept.write(self.model, folder, self._root)
        (folder / names.FILE).write_text(self.names or "{}")
        if self.blueprint:
            (folder / blueprint.FILE).write_text(self.blueprint)

    def begin_with(self, folder: Path) -> None:
        """Make `folder` hold what the layers keep now, unless it is there: the first to build the model decides."""
        if folder.exists():
            return
        aside = Path(durable.aside_name(folder))
        aside.mkdir()
        kept.write(self.model, aside, self._root)
        with contextlib.suppress(FileExistsError):
            durable.put(aside, folder, overwrite=False)
        durable.remove(aside)

    def take_back(self, folder: str | os.PathLike[str], *, seeds: bool = True) -> bool:
        """Let the built model keep what the layers kept that were written to `folder`; return whether there is any.

        Raises ModelError if a layer does not accept it.
        """
        file = Path(folder, kept.FILE)
        if found := file.exists():
            kept.give(self.model, file.read_text(), seeds=seeds)
        return found

    # ------------------------------------------------------------ finding the parts

    def _part(self, role: str) -> tuple[Any, str] | None:
        """What fills a role, and where it was found: the option, the model's class or the model's module."""
        name = getattr(self.definition, role)
        if name:
            return named(name, role, self._zoo, self._module), f"{role}={name}"
        value = attribute_of(self.model, CLASS_NAMES[role])
        if value is not None:
            return value, f"{type(self.model).__name__}.{getattr(value, '__name__', CLASS_NAMES[role][0])}"
        for name in MODULE_NAMES[role]:
            value = getattr(self._module, name, None)
            if value is not None and not isinstance(value, ModuleType):
                return value, f"{self._module.__name__}.{name}"
        if role in self._lacking:
            return getattr(self._table.fitting, _FITTED[role]), f"the {role} that fits the label"
        return None

    def _bound_to_table(self) -> Any:
        """The input function of a job with a label, made for this model; None for other jobs."""
        if self.definition.input_fn != TABLE_INPUT:
            return None
        loss = self._part("loss")
        given = getattr(self.model, "loss", None) if loss is None else loss[0]
        return find(self._zoo, TABLE_INPUT, "input_fn", self._module).bind(self.model, given)

    def _input(self) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
        """The input function or the dataset_fn; a function that an option names takes precedence over the model's."""
        if self._table is not None:
            return self._table, None
        order = ("dataset_fn", "input_fn") if self.definition.dataset_fn else ("input_fn", "dataset_fn")
        if not self.definition.input_fn and attribute_of(self.model, CLASS_NAMES["input_fn"]) is None:
            order = ("dataset_fn", "input_fn")
        for role in order:
            found = self._part(role)
            if found is not None:
                if not callable(found[0]):
                    raise ModelError(f"{found[1]} is a {type(found[0]).__name__}, not a function")
                return (found[0], None) if role == "input_fn" else (None, found[0])
        raise OptionError("input_fn", self._absent("input_fn"))

    def _absent(self, role: str) -> str:
        return (
            f"{self.definition.model_def} has none; looked for {CLASS_NAMES[role][0]} in the class "
            f"{type(self.model).__name__} and {' or '.join(MODULE_NAMES[role])} in {self._module.__name__}"
        )

    def _check_left_over(self) -> None:
        if self._optimizer is None:
            return
        names, any_other = self._optimizer.arguments()
        for name in self._optimizer_params:
            if name not in names and not any_other:
                raise OptionError(
                    "params",
                    f"{name}: neither {self.definition.model_def} nor {self._optimizer.where} accepts it."
                    f"{did_you_mean(name, names)}",
                )

    def _make_processor(self, given: Any, where: str) -> Any:
        with user_code(where, self._root):
            processor = given() if inspect.isclass(given) else given
        if not callable(getattr(processor, "process", None)):
            raise ModelError(f"{where} has no method process(predictions, worker_id)")
        return processor

"""A training step of the model's own, made by all workers together.

The model's `train_step` runs in every worker that has a batch. Wherever an optimizer applies gradients, these become
the means of all workers', weighted by records. What the step changes by itself (statistics, averaged weights, counters)
is put together at its end. A step that breaks off leaves the model as it was.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.allreduce.collective import Alone, Array, Collective, RingBroken
from elasticdl_nb.runtime.allreduce.meeting import KINDS, Disagreement, Meeting
from elasticdl_nb.runtime.allreduce.overlap import Exchanged
from elasticdl_nb.runtime.allreduce.places import Entry
from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.compiling import Optimizers, held_by
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.state import ModelState
from elasticdl_nb.runtime.worker.batches import as_graph, batch_size
from elasticdl_nb.runtime.worker.training.applying import changed_gradients, no_other_optimizers
from elasticdl_nb.runtime.worker.training.base import Logs, loss_of
from elasticdl_nb.runtime.worker.training.slices import rows_of

_END, _VALUES = b"the end ", b"values  "
_LIKE = 1e-4
"""How far the sum of a weight's values may be from the mean of all workers', as a part of the sum of their sizes."""
_TRIED = 24


class OwnStep:
    """The step of a built model for batches of the form `element_spec`; what it needs is made at once."""

    def __init__(self, loaded: LoadedModel, element_spec: Any) -> None:
        self._loaded, self._model = loaded, loaded.model
        self._optimizers = Optimizers(self._model)
        self._applied: set[int] = set()
        self._meeting: Any = None
        self._failed: Exception | None = None
        self._loss: Any = 0.0
        self._begun: tuple[Collective, Entry] = (Alone(), Entry())
        self.exchanged = Exchanged()
        """How long exchanges took; the step goes on only when it has their results, so none of it is hidden."""
        self._graph = as_graph(tf.autograph.experimental.do_not_convert(self._step), element_spec)
        if not getattr(self._graph, "input_signature", None):
            raise ModelError(
                "train_step: the form of the batches is not known before the first one, so workers cannot prepare to "
                "make the model's own steps together; give tensors known shapes, with tf.ensure_shape for example"
            )
        model = self._model
        with (
            loaded.user_code("train_step()"),
            no_other_optimizers(self._optimizers.all, model.trainable_variables),
        ):
            self._graph.get_concrete_function()  # which makes the optimizers' variables, and changes nothing
        found = [*model.trainable_variables, *model.non_trainable_variables, *self._bare_variables()]
        found = list({id(one): one for one in found if not _path(one).endswith("seed_generator_state")}.values())
        self._shared = [one for one in found if _key(one) in self._applied]
        self._others = [one for one in found if _key(one) not in self._applied and _is_number(one)]
        self.state = ModelState(model, self)
        self._restored = [*found, *self._optimizers.variables, *self._metrics()]

    # ------------------------------------------------------------ what belongs to the step

    @property
    def variables(self) -> list[Any]:
        """Those of all optimizers, and TensorFlow's own variables, which Keras does not count among the model's."""
        return [*self._optimizers.variables, *self._bare_variables()]

    def _bare_variables(self) -> list[Any]:
        return [one for one in held_by(self._model) if isinstance(one, tf.Variable)]

    def _metrics(self) -> list[Any]:
        return [variable for metric in self._model.metrics for variable in metric.variables]

    def _kept(self) -> list[Array]:
        return [_numpy(one) for one in self._restored]

    def _restore(self, kept: Sequence[Array]) -> None:
        for variable, value in zip(self._restored, kept, strict=True):
            variable.assign(value)

    # ------------------------------------------------------------ the graph

    def _step(self, *batch: Any) -> Any:
        with changed_gradients(self._optimizers.all, self._averaged):
            logs = self._model.train_step(self._loaded.data_for_keras(batch))
        return dict(logs) if isinstance(logs, Mapping) else {"loss": logs}

    def _averaged(self, optimizer: Any, gradients: list[Any], variables: list[Any]) -> list[Any]:
        """Within the graph: the gradients' means over all workers, where there are gradients."""
        given = [place for place, one in enumerate(gradients) if one is not None]
        self._applied.update(_key(variables[place]) for place in given)
        # By position, because Keras numbers the names of layers within a process.
        of_model = {_key(one): place for place, one in enumerate(self._model.variables)}
        named = [(of_model.get(_key(variables[place])), tuple(variables[place].shape)) for place in given]
        text = repr([next(n for n, one in enumerate(self._optimizers.all) if one is optimizer), *named])
        what = hashlib.blake2b(text.encode(), digest_size=8).digest()
        kinds = [[place for place in given if (variables[place].dtype == "float64") == wide] for wide in (False, True)]
        flat = [
            tf.concat([np.zeros(0, kind), *(_flat(gradients[place], kind) for place in places)], 0)
            for places, kind in zip(kinds, KINDS, strict=True)
        ]
        means = tf.numpy_function(partial(self._meet, what), flat, KINDS, name="average")
        result: list[Any] = [None] * len(gradients)
        for places, mean in zip(kinds, means, strict=True):
            lengths = [_length(variables[place]) for place in places]
            parts = tf.split(tf.ensure_shape(mean, [sum(lengths)]), lengths) if places else []
            for place, part in zip(places, parts, strict=True):
                result[place] = tf.cast(tf.reshape(part, variables[place].shape), variables[place].dtype)
        return result

    def _meet(self, what: bytes, *values: Array) -> list[Array]:
        try:
            means: list[Array] = self._meeting.average(what, values)
        except Exception as error:
            self._failed = error  # TensorFlow would make a text of it
            raise
        return means

    def _run(self, meeting: Any, batch: Any) -> Logs:
        """Run the step with a meeting's means; raises what the meeting has raised."""
        self._meeting, self._failed = meeting, None
        try:
            with self._loaded.user_code("train_step()"):
                logs: Logs = self._graph(*batch)
        except Exception as error:
            raise (self._failed or error) from None
        finally:
            self._meeting = None
        return logs

    # ------------------------------------------------------------ what a trainer calls

    def alone(self, *batch: Any) -> Logs:
        """Make a step in this process alone; return its logs."""
        logs = self._run(Meeting(Alone(), Entry(records=1)), batch)
        self._loss = loss_of(logs)
        return logs

    def begin(self, collective: Collective, entry: Entry, *, again: bool = False) -> None:
        """Begin a step."""
        self._begun = collective, entry
        self._entries: list[Entry] | None = None

    def compute(self, batch: Any) -> Logs:
        """Make a batch's part of the step; return its own logs. Raises RingBroken, and has changed nothing then."""
        meeting = Meeting(*self._begun)
        logs: Logs = {"loss": 0.0}
        if meeting.makes_step:
            kept = self._kept()
            try:
                logs = self._run(meeting, batch)
                self._loss = self._end(meeting, kept, loss_of(logs))
            except BaseException as error:
                self._restore(kept)
                if isinstance(error, Disagreement):
                    raise ModelError(
                        "train_step: workers do not apply the same gradients in the same order in one step, or do not "
                        "end it with the same counters, as it depends on a worker's batch; use the strategy Local, or "
                        "let it depend on what is the same in all workers, such as optimizer.iterations"
                    ) from None
                raise
            self.exchanged = self.exchanged.with_step(meeting.spans, computed=0.0)
        self._entries = meeting.entries
        return logs

    def cancel(self) -> None:
        """`compute` has failed: nothing is left to do."""

    def result(self) -> list[Entry]:
        """Return what every rank has brought; without a batch, take part in the step. Raises RingBroken."""
        if self._entries is None:
            meeting = Meeting(*self._begun)
            if meeting.makes_step:
                try:
                    means = meeting.follow(_END)[1]
                    meeting.follow(_VALUES)
                except Disagreement:
                    raise RingBroken("the others do not agree on the step") from None
                self._receive(meeting)
                self._loss = means[0]
            self._entries = meeting.entries
        return self._entries

    def apply(self, entries: Sequence[Entry]) -> Logs:
        """Return the mean loss of the step, which is in the model by now."""
        return {"loss": self._loss}

    def warm_up(self, records: int) -> None:
        """What a step needs was made at once."""

    # ------------------------------------------------------------ the end of a step

    def _end(self, meeting: Meeting, kept: Sequence[Array], loss: Any) -> float:
        """Put together what the step has changed without an optimizer; return the mean loss.

        Raises ModelError if weights have become different, and Disagreement if counters have.
        """
        before = {id(variable): value for variable, value in zip(self._restored, kept, strict=True)}
        now = [_numpy(one) for one in self._others]
        changed = [float(a.tobytes() != before[id(v)].tobytes()) for v, a in zip(self._others, now, strict=True)]
        sums = np.array([_sums(one) for one in self._shared], np.float64).reshape(-1, 2)
        told = np.concatenate([[float(np.mean(loss))], changed, sums[:, 0]])
        means = meeting.average(_END, [np.zeros(0, np.float32), told.astype(np.float64)], exact=True)[1]
        count = len(self._others)
        self._check_alike(sums, means[1 + count :])
        moved = [place for place in range(count) if means[1 + place]]
        flat = [np.zeros(0), *(now[place].reshape(-1).astype(np.float64) for place in moved)]
        values = meeting.average(_VALUES, [np.zeros(0, np.float32), np.concatenate(flat)], exact=True)[1]
        start = 0
        for place in moved:
            own, variable = now[place], self._others[place]
            mean = values[start : start + own.size].reshape(own.shape)
            start += own.size
            if not np.issubdtype(own.dtype, np.inexact) and not np.allclose(mean, own):
                raise Disagreement
            variable.assign(mean.astype(own.dtype) if np.issubdtype(own.dtype, np.inexact) else own)
        meeting.hand_out(self.state.read)
        return float(means[0])

    def _check_alike(self, own: Array, means: Array) -> None:
        for variable, (value, size), mean in zip(self._shared, own, means, strict=True):
            if abs(value - mean) > _LIKE * size + 1e-6:
                raise ModelError(
                    f"train_step: {_path(variable)} is not the same in all workers after a step, as it changes the "
                    "variable without an optimizer, or something is set in one worker only; use the strategy Local, "
                    "or change it in the same way for every batch"
                )

    def _receive(self, meeting: Meeting) -> None:
        """Take the model of a worker that had a batch, but no random states."""
        own = self.state.random()
        if (data := meeting.hand_out(self.state.read)) is not None:
            self.state.write(data)
        self.state.give_random(own)

    # ------------------------------------------------------------ before the first step

    def judge(self, batch: Any) -> str:
        """Raise ModelError if a batch's gradients are not the means of its records', so that workers cannot share it.

        A step that depends on chance, or on statistics of the batch, is not judged. Masked outputs are close enough;
        what is returned says so, or is empty.
        """
        records = min(batch_size(batch[0]), _TRIED)
        first = max(1, records // 3)
        layers = self._model._flatten_layers()
        if records < 2 or any(isinstance(one, keras.layers.BatchNormalization) and one.trainable for one in layers):
            return ""
        kept = self._kept()

        def part(start: int, stop: int) -> list[Array]:
            trial = _Trial()
            try:
                self._run(trial, rows_of(batch, start, stop))
            finally:
                self._restore(kept)
            return trial.seen

        whole, again = part(0, records), part(0, records)
        parts = [part(0, first), part(first, records)]
        if len(whole) != len(again) or any(_differ(*pair, 1e-5) for pair in zip(whole, again, strict=True)):
            return ""
        if any([len(a) for a in whole] != [len(b) for b in one] for one in parts):
            raise ModelError("train_step: which gradients it applies depends on the batch; use the strategy Local")
        coarse = "16" in keras.config.dtype_policy().compute_dtype
        for one, *two in zip(whole, *parts, strict=True):
            mean = (first * two[0] + (records - first) * two[1]) / records
            if _differ(one, mean, 0.05 if coarse else 1e-3):
                if any(getattr(layer, "mask_zero", False) or type(layer) is keras.layers.Masking for layer in layers):
                    return (
                        "train_step: outputs are masked, so each worker's mean is over what the masks leave of its "
                        "part of a batch; one worker would take the mean over the whole batch"
                    )
                raise ModelError(
                    "train_step: a batch's gradients are not the means of those of its records, so several workers "
                    "cannot share a batch as one worker would train on it; use a single worker, or the strategy Local"
                )
        return ""


class _Trial:
    """Stands for a meeting: keeps the gradients that come, and gives back zeros."""

    def __init__(self) -> None:
        self.seen: list[Array] = []

    def average(self, what: bytes, values: Sequence[Array]) -> list[Array]:
        self.seen.append(np.concatenate([one.astype(np.float64) for one in values]))
        return [np.zeros_like(one) for one in values]


def _differ(one: Array, other: Array, tolerance: float) -> bool:
    if one.shape != other.shape:
        return True
    return bool(np.linalg.norm(one - other) > tolerance * max(np.linalg.norm(one), np.linalg.norm(other)))


def _path(variable: Any) -> str:
    return str(getattr(variable, "path", variable.name))


def _key(variable: Any) -> int:
    """Tells variables apart, whether they come as Keras' or as TensorFlow's own."""
    return id(getattr(variable, "_value", variable))


def _numpy(variable: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(variable))


def _is_number(variable: Any) -> bool:
    return np.issubdtype(_numpy(variable).dtype, np.number) or _numpy(variable).dtype == bool


def _length(variable: Any) -> int:
    return int(np.prod(variable.shape, dtype=np.int64))


def _flat(gradient: Any, kind: Any) -> Any:
    return tf.reshape(tf.cast(tf.convert_to_tensor(gradient), kind), [-1])


def _sums(variable: Any) -> tuple[float, float]:
    values = _numpy(variable).astype(np.float64)
    return float(values.sum()), float(np.abs(values).sum())

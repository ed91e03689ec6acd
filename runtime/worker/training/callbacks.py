"""The callbacks of a job: one set, in one of its workers, whatever the strategy.

Between two epochs there is a border (see `master.decisions.borders`), where the worker that has the callbacks calls
them. What they have decided goes into a file before it takes effect: should this worker die, another one follows the
file instead of asking its own callbacks again. Other workers have callbacks only if these say `in_every_worker`.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.compiling import rate_is_set
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.epochs import together
from elasticdl_nb.runtime.storage.pauses import write_at_last
from elasticdl_nb.runtime.worker.training.callbackstate import Outcome, remembered, remove_others
from elasticdl_nb.runtime.worker.training.epochs import read

Made = list[keras.callbacks.Callback]

BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
"""What is called around a step; a test compares it with the installed Keras."""
_AT_BORDERS = "do that at the begin or end of an epoch, or use the strategy Local"


def split(made: Sequence[keras.callbacks.Callback]) -> tuple[Made, Made]:
    """Return the callbacks of which a job has one set, and those that every worker has: they count the job's steps."""
    everywhere = [one for one in made if getattr(one, "in_every_worker", False)]
    return [one for one in made if one not in everywhere], everywhere


class Callbacks:
    """The callbacks as one worker sees them; `note` takes (level, text) for users, `finalize` comes before the end.

    `folder` is where the job keeps what they decide. `others_train` says that the model is in other processes too,
    `rate_is_told` that these learn of the learning rate at every step, and `in_charge` that those callbacks that belong
    in every worker are called in this one.
    """

    def __init__(
        self, loaded: LoadedModel, epochs: int, *, note: Callable[[str, str], None], finalize: Callable[[], None],
        others_train: bool, rate_is_told: bool,
    ) -> None:  # fmt: skip
        self._loaded, self._model, self._epochs = loaded, loaded.model, epochs
        self._note, self._finalize = note, finalize
        self._others_train, self._rate_is_told = others_train, rate_is_told
        self.folder: Path | None = None
        self.in_charge = True
        hosted, everywhere = split(loaded.callbacks())
        self.any = bool(hosted)
        self._everywhere = self._list(everywhere, 0) if everywhere else None
        self._hosted: keras.callbacks.CallbackList | None = None
        self._on_new_step: Callable[[], None] | None = None
        self.watch_compile(None)
        self._watched = others_train and any(map(_has_batch_hooks, hosted))
        self._initial_rate = self._rate = self._learning_rate()
        self._number = 0
        self._batch = 0
        self._tested = self._test_batch = 0
        self._finalized = False
        self._logs: dict[str, float] = {}
        self._said: set[str] = set()
        if self._everywhere is not None:
            self._everywhere.on_train_begin()

    def _list(self, callbacks: Made, steps: int) -> keras.callbacks.CallbackList:
        return keras.callbacks.CallbackList(
            callbacks, add_history=False, add_progbar=False, model=self._model, verbose=0, epochs=self._epochs,
            steps=steps or None,
        )  # fmt: skip

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """In this block, callbacks are called: their errors are ModelErrors, and their warnings are for users."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with self._loaded.user_code("a callback"):
                yield
        self._follow_compile()
        for warning in caught:
            if issubclass(warning.category, (UserWarning, RuntimeWarning)):
                self._say(str(warning.message))

    def watch_compile(self, on_new_step: Callable[[], None] | None) -> None:
        """The model's step is made: if callbacks make another from now on, that is followed by `on_new_step`.

        None if other processes make steps, too.
        """
        self._optimizer, self._train_function = self._model.optimizer, self._model.train_function
        self._on_new_step = on_new_step

    def _follow_compile(self) -> None:
        """Do as `fit` if a callback made a new train function, after it has frozen layers for example."""
        model = self._model
        if model.optimizer is not self._optimizer:
            raise ModelError("callbacks: one has compiled the model again, which is not possible while it trains")
        if model.train_function is self._train_function:
            return
        if self._on_new_step is None:
            raise ModelError(
                "callbacks: one has called make_train_function, of which other workers do not learn; use the strategy "
                "Local"
            )
        self._on_new_step()
        self._train_function = model.train_function

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self._note("warning", f"callbacks: {text}")

    # ------------------------------------------------------------ tasks

    def task_begins(self, border: pb.Border) -> None:
        """A task comes after so many borders: use what was decided at the last of them."""
        if not self.any or not border.number:
            return
        if border.number != self._number or not border.here:
            self._hosted = None
        if border.number != self._number and border.HasField("learning_rate"):
            self._model.optimizer.learning_rate = border.learning_rate
        if border.here and self._hosted is None:
            self._take_over(border)
        if border.number != self._number:
            self._number, self._rate = border.number, self._learning_rate()

    def _take_over(self, border: pb.Border) -> None:
        """Have callbacks like those of the process that had them before, or new ones if there was none."""
        self._batch = 0
        made, _ = split(self._loaded.callbacks())
        for callback in made:
            if isinstance(callback, keras.callbacks.CSVLogger):
                callback.append = True
        self._hosted = self._list(made, border.steps)
        if not border.state:
            self._model.stop_training = False
            if self._initial_rate is not None:
                self._model.optimizer.learning_rate = self._initial_rate
            return
        with self._calling():
            self._hosted.on_train_begin()
        outcome = Outcome.read(self._file(border.state))
        if (rate := outcome.decision["learning_rate"]) is not None:
            self._model.optimizer.learning_rate = rate
        for callback, attributes in zip(made, outcome.attributes, strict=True):
            vars(callback).update(attributes)
        for text in outcome.decision["left"]:
            self._say(f"another worker has them now, without {text}, which cannot be kept in a file")
        self._logs = outcome.decision["logs"]
        self._model.stop_training = bool(outcome.decision["stop"])

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name

    # ------------------------------------------------------------ borders

    def at_border(self, border: pb.Border, part: pb.EpochEnded, step: int) -> pb.Decision:
        """Call the callbacks where one epoch ends and another begins, or follow those of a worker that has died since.

        `part` is what this process knows of the epoch. The model has what was decided afterwards.
        """
        path = self._file(border.next)
        if path.exists():
            outcome = Outcome.read(path)
            self._take_over(pb.Border(state=border.next, steps=border.steps))
            for variable, value in zip(self._model.weights, outcome.weights or (), strict=outcome.weights is not None):
                variable.assign(value)
        else:
            if border.number != self._number or self._hosted is None:
                self._take_over(border)
            outcome = self._decide(border, part, step)
            # The hooks have run and must not run again: no other try of the task would do.
            write_at_last(partial(outcome.write, path), "what callbacks have decided", self._note, time.sleep)
            remove_others(path.parent, {*border.needed, border.next})
        decision = {name: value for name, value in outcome.decision.items() if name != "left" and value is not None}
        if decision["over"]:
            self._hosted = None
        self._number, self._batch, self._rate = border.number + 1, 0, self._learning_rate()
        return pb.Decision(**decision)

    def _decide(self, border: pb.Border, part: pb.EpochEnded, step: int) -> Outcome:
        hosted = self._hosted
        assert hosted is not None
        before = self._weights()
        over, records = False, 0
        with self._calling():
            if not border.number:
                hosted.on_train_begin()
                hosted.on_epoch_begin(0)
            else:
                records = self._epoch_ends(hosted, border, part)
                over = border.last or bool(self._model.stop_training)
                if over:
                    self.finalize()
                    hosted.on_train_end(self._logs)
                else:
                    hosted.on_epoch_begin(border.number)
        after = self._weights()
        changed = _differ(before, after)
        attributes, left = [], []
        for callback in hosted.callbacks:
            kept, strange = remembered(callback)
            attributes.append(kept)
            left += [] if is_of_keras(type(callback)) else [f"{type(callback).__name__}.{name}" for name in strange]
        stop = f"a callback ended it after step {step}" if self._model.stop_training else ""
        decision = {
            "learning_rate": self._learning_rate(), "stop": stop, "changed": changed, "over": over, "logs": self._logs,
            "left": left, "records": records,
        }  # fmt: skip
        return Outcome(decision, attributes, after if changed and self._others_train else None)

    def _epoch_ends(self, hosted: Any, border: pb.Border, part: pb.EpochEnded) -> int:
        """Call what comes after an epoch, if anything was trained; return how many records were."""
        epoch = border.number - 1
        if part.records and part.epoch == epoch:
            whole = together(border.others, part) if border.HasField("others") else part
        else:
            whole = border.others
        if not whole.records:
            return 0
        logs: dict[str, Any] = {**whole.logs, **{f"val_{name}": value for name, value in border.evaluation.items()}}
        for callback in hosted.callbacks:  # the list would show them a copy of the logs, to which some add values
            callback.on_epoch_end(epoch, logs)
        self._logs = {name: float(value) for name, value in logs.items() if _is_number(value)}
        return int(whole.records)

    def finalize(self) -> None:
        """There are no further steps."""
        if not self._finalized:
            self._finalized = True
            self._finalize()

    def training_ends(self) -> None:
        """The same, for callbacks that every worker has. May be called again."""
        if self._everywhere is not None:
            everywhere, self._everywhere = self._everywhere, None
            everywhere.on_train_end()
        self.finalize()

    def _weights(self) -> list[np.ndarray]:
        return [keras.ops.convert_to_numpy(variable).copy() for variable in self._model.weights]

    def _learning_rate(self) -> float | None:
        optimizer = self._model.optimizer
        return float(optimizer.learning_rate) if optimizer is not None and rate_is_set(optimizer) else None

    # ------------------------------------------------------------ batches

    def _around_batch(self, hook: str, *logs: Mapping[str, float]) -> None:
        if self._everywhere is not None and self.in_charge:
            getattr(self._everywhere, hook)(self._batch, *logs)
        if self._hosted is None:
            return
        before = self._weights() if self._watched else []
        with self._calling():
            getattr(self._hosted, hook)(self._batch, *logs)
        if self._watched and _differ(before, self._weights()):
            raise ModelError(f"callbacks: {hook} changes weights, of which other workers do not learn; {_AT_BORDERS}")
        if not self._rate_is_told and self._everywhere is None and self._learning_rate() != self._rate:
            raise ModelError(
                f"callbacks: {hook} changes the learning rate, of which other workers do not learn; {_AT_BORDERS}"
            )

    @property
    def see_batches(self) -> bool:
        """Whether anything is called around the steps that come next."""
        hosted = self._hosted.callbacks if self._hosted is not None else []
        everywhere = self._everywhere.callbacks if self._everywhere is not None and self.in_charge else []
        return any(map(sees_batches, [*hosted, *everywhere]))

    def batch_begins(self) -> None:
        """A step comes next."""
        self._around_batch("on_train_batch_begin")

    def batch_ended(self, logs: Mapping[str, Any]) -> None:
        """A step was made, which returned these scalar tensors; each is read only if there are callbacks."""
        if self._hosted is not None or (self._everywhere is not None and self.in_charge):
            self._around_batch("on_train_batch_end", read(logs))
            self._batch += 1

    # ------------------------------------------------------------ evaluations

    def test_begins(self, evaluation: int) -> None:
        """A task of an evaluation comes next."""
        if self._hosted is not None and evaluation != self._tested:
            self._tested, self._test_batch = evaluation, 0
            with self._calling():
                self._hosted.on_test_begin()

    @contextmanager
    def test_batch(self) -> Iterator[None]:
        """In this block, a batch is evaluated."""
        if self._hosted is None:
            yield
            return
        with self._calling():
            self._hosted.on_test_batch_begin(self._test_batch)
        yield
        with self._calling():
            self._hosted.on_test_batch_end(self._test_batch)
        self._test_batch += 1

    def test_ends(self, evaluation: int, values: Mapping[str, float]) -> None:
        """An evaluation has these results."""
        if self._hosted is not None:
            self.test_begins(evaluation)
            with self._calling():
                self._hosted.on_test_end(dict(values))


def sees_batches(callback: Any) -> bool:
    """Whether a callback does something around steps, as far as Keras' classes show."""
    if type(callback) is keras.callbacks.ModelCheckpoint and callback.save_freq == "epoch":
        return False
    return any(
        getattr(getattr(callback, hook), "__func__", None) is not getattr(keras.callbacks.Callback, hook)
        for hook in BATCH_HOOKS
    )


def _has_batch_hooks(callback: Any) -> bool:
    """Whether a callback of the user's own does something around steps."""
    return any(
        getattr(type(callback), hook, None) is not getattr(keras.callbacks.Callback, hook)
        and not is_of_keras(next(kind for kind in type(callback).__mro__ if hook in vars(kind)))
        for hook in BATCH_HOOKS
    ) or isinstance(callback, keras.callbacks.LambdaCallback)


def _differ(before: Sequence[np.ndarray], after: Sequence[np.ndarray]) -> bool:
    return any(not np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def _is_number(value: Any) -> bool:
    return np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number)

"""What the trainers of all strategies have in common."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.model.loading.compiling import check_test_function
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.callbackchecks import check_callbacks
from elasticdl_nb.runtime.worker.training.callbacks import Callbacks
from elasticdl_nb.runtime.worker.training.decaying import check_rates
from elasticdl_nb.runtime.worker.training.epochs import Epochs, numbers
from elasticdl_nb.runtime.worker.training.prequential import Prequential
from elasticdl_nb.runtime.worker.unsuitable import explained

LOSS_INTERVAL = 0.25
_POINTS = 50

Logs = Mapping[str, Any]
"""What a step returns: the batch's loss, and the metrics of the epoch so far. All are scalar tensors."""


def loss_of(logs: Logs) -> Any:
    """Return the loss among a step's logs: the first value stands for it where none is called that."""
    return logs["loss"] if "loss" in logs else next(iter(logs.values()), float("nan"))


class Trainer:
    """Makes steps with a built model: `step` counts the model's steps; once there are no more, `stopped` says why.

    `on_loss` is called with the step and each reported mean loss.
    """

    _others_train = False
    """Whether other processes also have the model that this one trains."""
    _rate_is_told = True
    """Whether what sets the learning rate between two steps sets it for all who make them."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, on_loss: Callable[[int, float], None]
    ) -> None:
        self._spec, self._loaded, self._session, self._on_loss = spec, loaded, session, on_loss
        self._losses: list[tf.Tensor | float] = []
        self._reported_at = 0.0
        self._noted = 0
        self._last_loss = 0.0
        self.epochs = Epochs()
        self._records = 0
        self.step = 0
        self.stopped = ""
        self.model = loaded.model
        self.tested: Prequential | None = None
        """What tests batches before they are learnt, if that was asked for."""
        loaded.compile()
        check_test_function(self.model)
        self.optimizer = self.model.optimizer
        self._check()
        if spec.follow:
            for sentence in check_rates(self.model):
                session.note("warning", sentence)
        self._build_optimizer()
        self.model.stop_training = False
        self.callbacks = Callbacks(
            loaded, spec.num_epochs, note=session.note, finalize=self._finalize, others_train=self._others_train,
            rate_is_told=self._rate_is_told,
        )  # fmt: skip

    def _check(self) -> None:
        """Raise OptionError if there is nothing to minimize, or nothing to minimize it by."""
        check_callbacks(self._loaded.callbacks(), alone=self._is_alone)
        self._loaded.check_loss()
        if self.optimizer is None:
            self._loaded.make_optimizer()  # says what is missing

    @property
    def _makes_own_steps(self) -> bool:
        """Whether the model's own `train_step` is called."""
        return False

    @property
    def _is_alone(self) -> bool:
        """Whether no other process has the model or evaluates it."""
        return not self._others_train

    def _build_optimizer(self) -> None:
        """Create what the optimizer keeps for each variable, if this process holds it."""

    def _finalize(self) -> None:
        """There are no further steps: give the weights the values that the optimizer leaves in the end."""

    # ------------------------------------------------------------ callbacks

    def at_border(self, border: pb.Border) -> pb.Decision:
        """Let callbacks decide between two epochs, see `Callbacks`; what they have decided applies to all processes."""
        self.refresh()
        part = self.so_far()
        outcome = self.callbacks.at_border(border, part, self.step)
        self.epochs.forget()
        if outcome.changed or self._makes_own_steps:  # by optimizers whose learning rates nobody else is told
            self._share_model()
        return outcome

    def _share_model(self) -> None:
        """Callbacks have changed the model: all others must have the same."""

    def so_far(self) -> pb.EpochEnded:
        """Return this process's part of the epoch under way."""
        # The last step's loss may well be the mean so far, as Keras' is.
        return self.epochs.so_far(self.step, mean_loss=not self._makes_own_steps)

    def training_ends(self) -> None:
        """There are no further steps. May be called again."""
        self.callbacks.training_ends()

    # ------------------------------------------------------------ tasks

    def train(self, task: pb.Task, batches: Iterator[Any]) -> int:
        """Make steps with a task's batches until there are no more or training stops.

        Returns how many of the task's records are in the model.
        """
        self._records = 0
        self._make_steps(task.epoch, batches)
        return self._records

    def _make_steps(self, epoch: int, batches: Iterator[Any]) -> bool:
        """Make a step with each batch and call the callbacks around it; return whether all batches were used."""
        if self.epochs.task_begins(epoch):
            self._begin_measuring(epoch)
        for batch in batches:
            self.callbacks.batch_begins()
            with explained(self._loaded, batch):
                if self.tested:
                    self.tested.test(batch)
                logs = self._make_step(batch)
            if logs is not None:
                self.epochs.batch_ended(logs)
                self.callbacks.batch_ended(logs)
            if self.should_stop():
                return False
        return True

    def _begin_measuring(self, epoch: int) -> None:
        """The first records of an epoch come next."""
        self.model.reset_metrics()

    def _make_step(self, batch: Any) -> Logs | None:
        """Make a step and report it; return its logs, or None if this process's callbacks must not see them."""
        raise NotImplementedError

    def when_safe(self, call: Callable[[], None]) -> None:
        """Run `call` once the death of another worker can no longer lose the steps so far."""
        call()

    @property
    def records_kept(self) -> int:
        """How many records of the task whose steps have ended need not be used again if it failed."""
        return 0

    def refresh(self) -> None:
        """Make sure that the model has the values of the job's last step."""

    def finish(self) -> None:
        """Turn the model into a plain one that holds all its weights; no further steps are made."""

    # ------------------------------------------------------------ the end, the loss

    def should_stop(self) -> bool:
        """Whether a callback or max_step has ended the training; `stopped` says why."""
        if self._spec.max_step and self.step >= self._spec.max_step:
            self.stopped = f"max_step={self._spec.max_step} is reached"
        elif self.model.stop_training:
            self.stopped = f"a callback ended it after step {self.step}"
        return bool(self.stopped)

    def _steps_left(self) -> float:
        """How many steps are to come at most, as far as is known."""
        return self._spec.max_step - self.step if self._spec.max_step else math.inf

    def _used(self, records: int, loss: Any) -> None:
        """Count a step made with so many records."""
        self._records += records
        self._session.progress(self.step, records)
        self.epochs.used(loss, records)
        self._note_loss(loss)

    def _note_loss(self, loss: Any) -> None:
        self._losses.append(loss)
        if self._loss_is_due():
            self.report_loss()

    def _loss_is_due(self) -> bool:
        if self._spec.log_loss_steps:
            return self.step % self._spec.log_loss_steps == 0
        # Often enough in time, and in steps, so that short jobs have a curve, too: a report for every fiftieth of the
        # steps so far, which are about 60 points for 60 steps, 200 for 1,000 and 550 for a million.
        self._noted += 1
        often = len(self._losses) >= self._noted / _POINTS
        return often or time.monotonic() - self._reported_at > LOSS_INTERVAL

    def report_loss(self) -> None:
        """Report the mean loss of the steps since the last report."""
        if not self._losses:
            return
        value = float(numbers(self._losses).mean())
        self._losses.clear()
        self._reported_at = time.monotonic()
        self._last_loss = value
        self._session.loss(self.step, value)
        self._on_loss(self.step, value)

    def require_finite_loss(self) -> None:
        """Raise ElasticDLError if the last loss is no finite number, unless the job goes on all the same.

        The master ends such a job, too, but it may hear of a short job's only loss when the model is already written.
        """
        if self._spec.on_nan == "stop" and not math.isfinite(self._last_loss):
            raise ElasticDLError(f"the loss is {self._last_loss} at step {self.step}, so the model is not written")

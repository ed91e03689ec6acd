"""Training steps of a model that is trained in this process alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from elasticdl_nb.runtime.model.loading.compiling import Optimizers
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.batches import as_graph, batch_size
from elasticdl_nb.runtime.worker.feed import StreamBatches
from elasticdl_nb.runtime.worker.jit.asked import compiled_by_author, hindrance, jit_of
from elasticdl_nb.runtime.worker.jit.number import Number
from elasticdl_nb.runtime.worker.jit.several import BrokenOff, Made, SeveralSteps
from elasticdl_nb.runtime.worker.jit.steps import MeasuredSteps
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.base import Logs, loss_of
from elasticdl_nb.runtime.worker.training.whole import WholeModelTrainer
from elasticdl_nb.runtime.worker.unsuitable import explained


class LocalTrainer(WholeModelTrainer):
    """Applies each batch as one step; a model with a `train_step` of its own makes the step itself, as in `fit`."""

    def __init__(
        self, spec: JobSpec, loaded: LoadedModel, session: WorkerSession, element_spec: Any,
        on_loss: Callable[[int, float], None],
    ) -> None:  # fmt: skip
        self._number = Number()
        super().__init__(spec, loaded, session, element_spec, on_loss)
        self.callbacks.watch_compile(partial(self._make_step_anew, element_spec))

    def _make_step_anew(self, element_spec: Any) -> None:
        # Own steps are made by the model's train function, whichever it has.
        self._apply_batch = self._own_step if self._makes_own_steps else self._compiled(element_spec)

    def _compiled(self, element_spec: Any) -> Callable[..., Logs]:
        own = self._makes_own_steps
        if own:
            self._form = element_spec
            self.model.make_train_function()
        reason = hindrance(self.model, element_spec)
        if reason and self._spec.jit_compile == "true":
            self._session.note("warning", f"jit_compile: steps are not compiled: {reason}")
        if reason or (self._spec.jit_compile == "auto" and compiled_by_author(self.model)):
            return self._own_step if own else super()._compiled(element_spec)
        return MeasuredSteps(
            self._train_step if own else self._apply, element_spec, jit=jit_of(self._spec, self.model),
            note=self._session.note, left=self._steps_left, graph=self._own_step if own else None,
        )  # fmt: skip

    def _train_step(self, *batch: Any) -> Logs:
        """What the model's train function does with a batch."""
        with self._loaded.user_code("train_step()"):
            logs = self.model.train_step(self._loaded.data_for_keras(batch))
        return logs if isinstance(logs, Mapping) else {"loss": logs}

    def _optimizers(self) -> Any:
        if not self._makes_own_steps:
            return super()._optimizers()
        if self.step == 0 and not self.model.run_eagerly:
            # An optimizer has its variables once it is applied: tracing a step makes them, and changes nothing.
            as_graph(self._train_step, self._form).get_concrete_function()
        return Optimizers(self.model)

    def _own_step(self, *batch: Any) -> Logs:
        with self._loaded.user_code("train_step()"):
            logs = self.model.train_function(OneBatch(self._loaded.data_for_keras(batch)))
        return logs if isinstance(logs, Mapping) else {"loss": logs}

    # ------------------------------------------------------------ steps

    def _make_steps(self, epoch: int, batches: Iterator[Any]) -> bool:
        steps, observed = self._apply_batch, self.callbacks.see_batches or self.tested is not None
        if not isinstance(batches, StreamBatches) or not isinstance(steps, MeasuredSteps) or observed:
            return super()._make_steps(epoch, batches)
        if self.epochs.task_begins(epoch):
            self._begin_measuring(epoch)
        while batches.go_on():
            before, began = self.step, time.perf_counter()
            at_once = steps.several(batches) if self._number.is_worth_it else None
            if at_once is not None:
                self._make_several(at_once, batches)
                steps.several_made(self.step - before, time.perf_counter() - began)
            else:
                super()._make_steps(epoch, itertools.islice(batches, 1))
            self._number.made(self.step - before, time.perf_counter() - began)
            if self.should_stop():
                return False
        return True

    def _make_several(self, at_once: SeveralSteps, batches: StreamBatches) -> None:
        try:
            made = at_once(batches, int(min(self._number.now, self._steps_left())))
        except BrokenOff as broken:
            self._count(broken.made)
            if broken.batch is None:
                raise broken.error from None
            with explained(self._loaded, broken.batch):
                raise broken.error from None
        self._count(made)
        self.epochs.batch_ended(made.logs)

    def _count(self, made: Made) -> None:
        for loss, records in zip(made.losses, made.records, strict=True):
            self.step += 1
            self._used(records, loss)

    def _make_step(self, batch: Any) -> Logs:
        logs = self._apply_batch(*batch)
        self.step += 1
        self._used(batch_size(batch[0]), loss_of(logs))
        return logs


class OneBatch:
    """The iterator over data that Keras' train functions take, with a single batch."""

    def __init__(self, data: Any) -> None:
        self._data = [data]

    def __iter__(self) -> OneBatch:
        return self

    def __next__(self) -> Any:
        if not self._data:
            raise StopIteration
        return self._data.pop()

    get_next = __next__

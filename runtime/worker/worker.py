"""What a worker does with each kind of task."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras

from elasticdl_nb.runtime.data.tensors import original_error
from elasticdl_nb.runtime.errors import DataError, ElasticDLError
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, load
from elasticdl_nb.runtime.model.modelsource import ModelSource
from elasticdl_nb.runtime.model.saving.weights import load_weights
from elasticdl_nb.runtime.parameters.api import ServersLost
from elasticdl_nb.runtime.parameters.checkpoints.local import is_of_trained_model
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage import checkpoints
from elasticdl_nb.runtime.worker.evaluator import Evaluator
from elasticdl_nb.runtime.worker.eventfiles import EventFiles
from elasticdl_nb.runtime.worker.failures import failure
from elasticdl_nb.runtime.worker.feed import Feed, Work, with_first
from elasticdl_nb.runtime.worker.finish import finish_prediction, finish_training, write_form
from elasticdl_nb.runtime.worker.jobdata import JobData
from elasticdl_nb.runtime.worker.orders import READ_AHEAD, Dismissed, TaskVoid
from elasticdl_nb.runtime.worker.part import Part
from elasticdl_nb.runtime.worker.predictcallbacks import check_predict_callbacks
from elasticdl_nb.runtime.worker.predictor import Predictor
from elasticdl_nb.runtime.worker.sources import Sources
from elasticdl_nb.runtime.worker.training.base import Trainer
from elasticdl_nb.runtime.worker.training.callbacks import split
from elasticdl_nb.runtime.worker.training.prequential import Prequential
from elasticdl_nb.runtime.worker.training.strategies import strategy_of
from elasticdl_nb.runtime.worker.training.workercheckpoint import note_on_start
from elasticdl_nb.runtime.worker.unsuitable import Unsuitable, place_of
from elasticdl_nb.runtime.worker.warned import tell_warnings

logger = logging.getLogger(__name__)


class Worker:
    """Carries out tasks until the master dismisses it."""

    def __init__(self, part: Part) -> None:
        self._part, self._folder, self._spec, self._session = part, part.folder, part.spec, part.session
        self._origin = ModelSource.of(self._spec, self._folder)
        self._strategy = strategy_of(part)
        if part.spec.kind != "train":
            self._strategy.use_tables_of(self._origin.definition)
        self._built = False
        self._values: dict[str, float] = {}
        tell_warnings(self._session.note)
        keras.utils.set_random_seed(self._spec.seed)
        with self._strategy.serving():
            self._loaded: LoadedModel = load(self._origin.definition)
        self._data = JobData(self._spec, self._loaded, self._folder.listings, self._session.note)
        self._sources = Sources(self._spec, self._loaded, self._data)
        self._events = EventFiles(self._folder.tensorboard, self._session.note)
        self._event_time: float | None = None  # of a topic: of the last record of the last task

    def run(self) -> None:
        """Work until there is no more to do."""
        self._session.activity("waiting")
        if self._spec.label and not self._part.number:
            for note in self._loaded.table.told:
                self._session.note("info", note)
        if counted := self._data.counted():
            self._session.send(data_counted=counted)
        if self._spec.kind == "predict":
            check_predict_callbacks(self._loaded.callbacks(), self._spec.num_workers)
        if self._strategy.builds_first:
            self._build(pb.TRAIN)
        hosted = split(self._loaded.callbacks())[0] if self._spec.kind == "train" else []
        self._session.send(want=pb.Want(tasks=READ_AHEAD, callbacks=bool(hosted)))
        feed = Feed(
            self._session.tasks, lambda task: self._sources[_like(task.kind)], self._strategy.while_idle,
            self._session.orders.wake,
        )  # fmt: skip
        for work in feed:
            if self._session.begin(work.task):
                self._attempt(work)
                self._when_safe(work.task, partial(self._session.end, work.task))
            work.close()
        self._events.close()

    def _attempt(self, work: Work) -> None:
        before = self._step
        try:
            self._strategy.before_task()
            self._do(work)
        except (Dismissed, TaskVoid) as end:
            logger.info("a task is not finished: %s", type(end).__name__)
        except ServersLost as error:
            if not self._strategy.other_servers_come():
                self._failed(work.task, ConnectionError(str(error)), 0)  # it may not occur again on another try
        except Exception as error:  # the master decides what a failed task means; the worker lives on
            self._failed(work.task, error, self._step - before)

    def _failed(self, task: pb.Task, error: Exception, steps: int) -> None:
        error = self._placed(error, task)
        described = failure(error, original_error(error))
        logger.error("a task failed: %s\n%s", described.message, described.traceback)
        failed = pb.TaskFailed(
            id=task.id, attempt=task.attempt, failure=described, steps_applied=steps,
            records=self._trainer.records_kept if self._trainer and task.kind == pb.TRAIN else 0,
        )  # fmt: skip
        self._when_safe(task, partial(self._session.send, task_failed=failed))

    def _placed(self, error: Exception, task: pb.Task) -> Exception:
        """Return an error that says where in its task a value is that its model cannot take, or the error itself."""
        if not isinstance(error, Unsuitable) or error.value is None or not task.ranges:
            return error
        ranges = [(span.path, span.start, span.end) for span in task.ranges]
        with contextlib.suppress(DataError):
            place = place_of(error.value, error.feature, self._sources.reader(_like(task.kind)), ranges)
            return Unsuitable(f"{error} ({place})").with_traceback(error.__traceback__)
        return error

    def _when_safe(self, task: pb.Task, call: Callable[[], None]) -> None:
        if self._trainer and task.kind == pb.TRAIN:
            self._trainer.when_safe(call)
        else:
            call()

    def _do(self, work: Work) -> None:
        task = work.task
        if task.kind == pb.TRAIN:
            self._train(work)
        elif task.kind == pb.EVALUATE and task.summarize:
            self._summarize(task)
        elif task.kind == pb.EVALUATE:
            self._evaluate(work)
        elif task.kind == pb.CALLBACKS:
            self._at_border(work)
        elif task.kind == pb.WINDOW:
            self._value_window(work)
        elif task.kind == pb.PREDICT:
            self._session.activity("predicting")
            self._done(task, records=self._predictor.predict(task.index, self._batches(work)))
        else:
            self._session.activity("writing")
            self._done(task, outputs=self._finish(task))

    def _done(self, task: pb.Task, **more: Any) -> None:
        done = pb.TaskDone(id=task.id, attempt=task.attempt, step=self._step, **more)
        self._when_safe(task, partial(self._session.send, task_done=done))

    # ------------------------------------------------------------ the model

    def _batches(self, work: Work) -> Iterator[Any]:
        """The task's batches; the first batch that this process sees builds the model."""
        batches = iter(work.batches)
        if not self._built and (first := next(batches, None)) is not None:
            self._build(_like(work.task.kind), first)
            batches = with_first(first, batches)
        return batches

    def _build(self, kind: pb.TaskKind, first: Any = None) -> None:
        self._session.activity("building")
        form = self._sources[kind].element_spec
        if kind != pb.PREDICT:
            form, first = form[0], None if first is None else first[0]
        with self._strategy.serving():
            self._loaded.build(form, first)
        self._strategy.layers.check_all_found()
        if self._origin.weights:
            load_weights(self._loaded.model, self._origin.weights, self._origin.variables)
        self._take_back()
        self._strategy.built(self._loaded, self._sources, self._log_loss)
        if self._trainer:
            self._trainer.callbacks.folder = self._folder.callbacks
            if self._spec.prequential:
                form = self._sources[pb.TRAIN].element_spec
                self._trainer.tested = Prequential(self._loaded, form, self._spec.alarm)
            write_form(self._spec, self._folder, self._loaded)
        self._built = True
        self._strategy.before_task()

    def _take_back(self) -> None:
        """Let the layers keep what they did when the model was trained or saved, or when the job began."""
        part, loaded = self._part, self._loaded
        for note in loaded.notes:
            self._session.note("warning", note)
        if self._spec.kind != "train":
            if state := self._origin.definition.state:
                loaded.take_back(state)
            return
        given = [os.fspath(checkpoints.find(path)) for path in (part.restore_from, part.initial) if path]
        if part.initial and not part.restore_from and is_of_trained_model(Path(given[-1])):
            tables = [layer.name for layer in self._strategy.layers.layers]
            self._session.note("info", note_on_start(Path(given[-1]), loaded.model, tables))
        if not any(loaded.take_back(path) for path in given):
            loaded.take_back(self._folder.begins_with, seeds=False)
        loaded.begin_with(self._folder.begins_with)

    def _log_loss(self, step: int, loss: float) -> None:
        age = {} if self._event_time is None else {"event_age_seconds": time.time() - self._event_time}
        self._events.scalars("train", step, {"loss": loss, **age})

    @property
    def _trainer(self) -> Trainer | None:
        return self._strategy.trainer

    @property
    def _step(self) -> int:
        return self._trainer.step if self._trainer else 0

    # ------------------------------------------------------------ training

    def _train(self, work: Work) -> None:
        batches = self._batches(work)
        records = 0
        trainer = self._trainer
        tested = trainer.tested if trainer is not None else None
        if tested:
            tested.begin()
        if trainer is not None and not trainer.stopped:
            self._session.activity("training")
            trainer.callbacks.task_begins(work.task.border)
            records = trainer.train(work.task, batches)
        self._stop_if_due()
        account = self._data.account(work.task)
        if (last := account.get("last")) and last.HasField("event_time"):
            self._event_time = last.event_time / 1000
        more = account | (tested.report() if tested else {})
        self._done(work.task, records=records, so_far=self._part_of_epoch(work.task), **more)
        self._strategy.after_task()

    def _part_of_epoch(self, task: pb.Task) -> pb.EpochEnded | None:
        trainer = self._trainer
        if trainer is None or not (task.ends_epoch or trainer.callbacks.any or self._spec.num_workers > 1):
            return None  # more is to come from here
        return trainer.so_far()

    def _stop_if_due(self) -> None:
        trainer = self._trainer
        if trainer is not None and trainer.should_stop():
            if not trainer.callbacks.any:
                trainer.training_ends()
            self._session.send(stop_training=pb.StopTraining(reason=trainer.stopped))

    def _at_border(self, work: Work) -> None:
        if not self._built and next(self._batches(work), None) is None:
            self._build(pb.TRAIN)
        assert self._trainer is not None
        self._session.activity("training")
        self._done(work.task, decision=self._trainer.at_border(work.task.border))
        self._strategy.after_task()

    def _value_window(self, work: Work) -> None:
        if not self._built and next(self._batches(work), None) is None:
            self._build(pb.TRAIN)
        assert self._trainer is not None and self._trainer.tested is not None
        values = self._trainer.tested.values(list(work.task.states))
        self._events.scalars("prequential", work.task.step, values)
        self._done(work.task, metrics=values)

    # ------------------------------------------------------------ evaluation, prediction, the end

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self._loaded, self._session, lambda: self._sources[pb.EVALUATE].element_spec)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(
            self._loaded, self._session, worker=self._part.number, folder=self._folder, spec=self._spec
        )  # fmt: skip

    def _evaluate(self, work: Work) -> None:
        batches = self._batches(work)
        if self._trainer:
            self._trainer.refresh()
        around: Callable[[], AbstractContextManager[None]] = nullcontext
        if self._trainer:
            self._trainer.callbacks.task_begins(work.task.border)
            self._trainer.callbacks.test_begins(work.task.evaluation)
            around = self._trainer.callbacks.test_batch
        self._session.activity("evaluating")
        records, states = self._evaluator.evaluate(batches, self._step, around)
        self._done(work.task, records=records, states=states)

    def _summarize(self, task: pb.Task) -> None:
        self._values = self._evaluator.values(list(task.states))
        self._events.scalars("validation", self._step, self._values)
        if self._trainer:
            self._trainer.report_loss()
            self._trainer.callbacks.task_begins(task.border)
            self._trainer.callbacks.test_ends(task.evaluation, self._values)
        self._done(task, metrics=self._values)
        self._strategy.after_task()

    def _finish(self, task: pb.Task) -> list[str]:
        if self._spec.kind == "predict":
            self._predictor.end()
            return finish_prediction(self._spec, self._folder, task.parts)
        if self._strategy.may_finish_untrained and not self._built:
            self._build(pb.TRAIN)
        trainer = self._trainer
        if trainer is None:
            raise ElasticDLError("data: the model's data function returned no batches; there is nothing to train on")
        trainer.report_loss()
        trainer.require_finite_loss()
        self._strategy.before_finish()
        trainer.training_ends()
        trainer.finish()
        layers = self._strategy.layers
        output, notes = finish_training(self._spec, self._folder, self._loaded, layers, self._values, self._step, task)
        for note in notes:
            self._session.note("warning", note)
        return [output]


def _like(kind: pb.TaskKind) -> pb.TaskKind:
    """The kind of task whose batches a task has: those of a border only show what the model is trained on."""
    return pb.TRAIN if kind in (pb.CALLBACKS, pb.WINDOW) else kind

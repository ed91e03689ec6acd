"""What a worker does with each kind of task."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.data.reader import Reader
from elasticdl_nb.runtime.data.tensors import original_error
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, load
from elasticdl_nb.runtime.model.modelsource import ModelSource
from elasticdl_nb.runtime.model.saving.weights import load_weights
from elasticdl_nb.runtime.parameters.api import ServersLost
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.ps.client import TIMEOUT, ParameterClient
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.evaluator import Evaluator
from elasticdl_nb.runtime.worker.eventfiles import EventFiles
from elasticdl_nb.runtime.worker.failures import failure
from elasticdl_nb.runtime.worker.feed import BatchSource, Feed, StreamSource, TaskSource, Work
from elasticdl_nb.runtime.worker.finish import finish_prediction, finish_training
from elasticdl_nb.runtime.worker.jobdata import JobData
from elasticdl_nb.runtime.worker.link import MasterLink
from elasticdl_nb.runtime.worker.orders import Dismissed, TaskVoid
from elasticdl_nb.runtime.worker.predictor import Predictor
from elasticdl_nb.runtime.worker.training.base import LocalTrainer
from elasticdl_nb.runtime.worker.training.ring import AllreduceTrainer
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer, tables_misfit

logger = logging.getLogger(__name__)
MODES = {pb.TRAIN: Mode.TRAINING, pb.EVALUATE: Mode.EVALUATION, pb.PREDICT: Mode.PREDICTION}
CHECKPOINT_SECONDS = 30.0
NEW_SERVERS_SECONDS = 60.0
"""How long a worker that has lost its servers waits for the master to name others."""
PROBE_SECONDS = 3.0
"""How long it waits before it looks whether the same ones can be reached again, and for their answer."""
SETTLE_SECONDS = 60.0
"""How long training waits for the master to take note of a checkpoint."""
MAKES_WAY = 75
READ_AHEAD = 2
"""Tasks a worker holds: one in use, one being read."""


logger = logging.getLogger(__name__)


class Worker:
    """Carries out tasks until the master lets it go."""

    def __init__(
        self, folder: JobFolder, link: MasterLink, number: int, restore_from: str, listener: Listener | None = None
    ) -> None:
        self._listener = listener
        self._folder, self._link, self._number, self._restore_from = folder, link, number, restore_from
        self._spec = folder.spec()
        self._sources: dict[pb.TaskKind, BatchSource] = {}
        self._sources_lock = threading.Lock()
        self._trainer: LocalTrainer | None = None
        self._built = False
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._values: dict[str, float] = {}
        keras.utils.set_random_seed(self._spec.seed)
        self._origin = ModelSource.of(self._spec, folder)
        self._layers = ServedLayers(seed=self._spec.seed)
        self._generation = 0
        self._connections = itertools.count(1)
        with self._serving():
            self._loaded: LoadedModel = load(self._origin.definition)
        self._data = JobData(self._spec, self._loaded)
        self._events = EventFiles(folder.tensorboard)

    def _serving(self) -> contextlib.AbstractContextManager[None]:
        """Large embeddings of a model that is trained are in tables; a trained model has them as weights.

        With all-reduce they are ordinary layers too: every worker has the whole model.
        """
        in_tables = self._spec.uses_servers or self._spec.trains_alone
        return serving(self._layers) if in_tables else contextlib.nullcontext()

    def run(self) -> None:
        """Work until there is no more to do."""
        self._link.activity("waiting")
        if counted := self._data.counted():
            self._link.send(data_counted=counted)
        if self._spec.uses_allreduce:
            self._build(pb.TRAIN)
        self._link.send(want=pb.Want(tasks=READ_AHEAD))
        for work in Feed(self._link.tasks, self._source_of, self._while_idle, self._link.orders.wake):
            if self._link.begin(work.task):
                self._attempt(work)
                self._when_safe(work.task, partial(self._link.end, work.task))
            work.close()
        self._events.close()

    def _attempt(self, work: Work) -> None:
        before = self._step
        try:
            self._connect()
            self._do(work)
        except (Dismissed, TaskVoid) as end:
            logger.info("a task is not finished: %s", type(end).__name__)
        except ServersLost as error:
            self._lost_servers(work.task, error)
        except Exception as error:  # the master decides what a failed task means; the worker lives on
            logger.exception("a task failed")
            self._failed(work.task, error, self._step - before)

    def _failed(self, task: pb.Task, error: Exception, steps: int) -> None:
        failed = pb.TaskFailed(
            id=task.id, attempt=task.attempt, failure=failure(error, original_error(error)), steps_applied=steps,
            records=self._trainer.records_kept if self._trainer and task.kind == pb.TRAIN else 0,
        )  # fmt: skip
        self._when_safe(task, partial(self._link.send, task_failed=failed))

    def _when_safe(self, task: pb.Task, call: Callable[[], None]) -> None:
        if self._trainer and task.kind == pb.TRAIN:
            self._trainer.when_safe(call)
        else:
            call()

    def _while_idle(self, ready: Callable[[], bool]) -> None:
        if isinstance(self._trainer, AllreduceTrainer):
            with contextlib.suppress(Dismissed):
                self._trainer.take_part(ready)

    def _connect(self) -> None:
        """With parameter servers: see that the trainer uses those in force."""
        if not isinstance(self._trainer, ServerTrainer):
            return
        servers = self._link.servers()
        if servers is not None and servers.generation != self._generation:
            if self._trainer.finished:
                # The job goes back to a checkpoint, but this model is a plain one by now: another process is needed.
                logger.warning("the job goes on after the model was finished; this worker makes way for another")
                os._exit(MAKES_WAY)
            self._link.activity("connecting")
            self._generation = servers.generation
            self._trainer.connect(self._client(servers))

    def _client(self, servers: pb.Servers, timeout: float = TIMEOUT) -> ParameterClient:
        # Each counts its pushes anew.
        source = f"worker {self._number}, process {os.getpid()}, connection {next(self._connections)}"
        return ParameterClient(
            servers.addresses, self._folder.token(), generation=servers.generation, source=source,
            synchronous=not self._spec.use_async, timeout=timeout,
        )  # fmt: skip

    def _lost_servers(self, task: pb.Task, error: ServersLost) -> None:
        """The task is void once there are other servers, as the job then goes back to a checkpoint.

        If the same ones answer again, only the connection was lost, and the task is to be done anew.
        """
        self._link.activity("waiting")
        deadline = time.monotonic() + NEW_SERVERS_SECONDS
        while self._link.servers(newer_than=self._generation, timeout=PROBE_SECONDS) is None:
            if self._link.sent_away or self._servers_answer() or time.monotonic() > deadline:
                self._generation = 0
                self._failed(task, ConnectionError(str(error)), 0)  # of a kind that another try may not meet
                return

    def _servers_answer(self) -> bool:
        servers = self._link.servers(timeout=0)
        if servers is None or servers.generation != self._generation:
            return False
        client = self._client(servers, PROBE_SECONDS)
        try:
            return all(status["generation"] == self._generation for status in client.status())
        except ServersLost:
            return False
        finally:
            client.close()

    def _do(self, work: Work) -> None:
        task = work.task
        if task.kind == pb.TRAIN:
            self._train(work)
        elif task.kind == pb.EVALUATE and task.summarize:
            self._summarize(task)
        elif task.kind == pb.EVALUATE:
            batches = self._batches(work)
            if self._trainer:
                self._trainer.refresh()
            self._link.activity("evaluating")
            records, states = self._evaluator.evaluate(batches, self._step)
            self._done(task, records=records, states=states)
        elif task.kind == pb.PREDICT:
            self._link.activity("predicting")
            self._done(task, records=self._predictor.predict(task.index, self._batches(work)))
        else:
            self._link.activity("writing")
            self._done(task, outputs=self._finish(task))

    def _done(self, task: pb.Task, **more: Any) -> None:
        done = pb.TaskDone(id=task.id, attempt=task.attempt, step=self._step, **more)
        self._when_safe(task, partial(self._link.send, task_done=done))

    @property
    def _step(self) -> int:
        return self._trainer.step if self._trainer else 0

    # ------------------------------------------------------------ records

    def _source_of(self, task: pb.Task) -> BatchSource:
        return self._source(task.kind)

    def _source(self, kind: pb.TaskKind) -> BatchSource:
        with self._sources_lock:
            if kind not in self._sources:
                is_validation = kind == pb.EVALUATE and self._spec.kind == "train"
                reader = self._data.reader("validation_data" if is_validation else "data")
                kinds = StreamSource if self._loaded.maps_records else TaskSource
                self._sources[kind] = kinds(reader, partial(self._dataset, kind, reader))
            return self._sources[kind]

    def _dataset(
        self, kind: pb.TaskKind, reader: Reader, chunks: tf.data.Dataset, number: Any = None
    ) -> tf.data.Dataset:
        spec = self._spec
        shuffles = kind == pb.TRAIN and spec.shuffle
        return self._loaded.batches(
            chunks, MODES[kind], reader.metadata, form=reader.form, batch_size=spec.minibatch_size,
            shuffle_seed=spec.seed if shuffles else None,
            task_records=spec.minibatch_size * spec.num_minibatches_per_task, number=number,
        )  # fmt: skip

    def _batches(self, work: Work) -> Iterator[Any]:
        """The task's batches; the first one this process sees builds the model."""
        batches = iter(work.batches)
        if not self._built and (first := next(batches, None)) is not None:
            self._build(work.task.kind)
            batches = itertools.chain([first], batches)
        return batches

    def _build(self, kind: pb.TaskKind) -> None:
        self._link.activity("building")
        form = self._source(kind).element_spec
        with self._serving():
            self._loaded.build(form if kind == pb.PREDICT else form[0])
        if self._origin.weights:
            load_weights(self._loaded.model, self._origin.weights, self._origin.variables)
        if self._spec.kind == "train":
            self._trainer = self._make_trainer()
            self._saved_step = self._trainer.step
        self._built = True
        self._connect()

    def _make_trainer(self) -> LocalTrainer:
        spec, layers = self._spec, self._layers
        arguments = (
            spec, self._loaded, self._link, self._source(pb.TRAIN).element_spec,
            lambda step, loss: self._events.scalars("train", step, {"loss": loss}),
        )  # fmt: skip
        if spec.uses_servers:
            return ServerTrainer(*arguments, layers)
        if self._listener is not None:
            return self._make_ring_trainer(arguments, self._listener)
        if layers.layers and (misfit := tables_misfit(self._loaded)):
            self._link.note("info", f"large embeddings are trained as ordinary layers: {misfit}")
            layers.unserve()
        trainer = TableTrainer(*arguments, layers) if layers.layers else LocalTrainer(*arguments)
        if self._restore_from:
            trainer.restore(self._restore_from, keep_step=True)
        elif spec.checkpoint_dir_for_init:
            trainer.restore(spec.checkpoint_dir_for_init, keep_step=False)
        return trainer

    def _make_ring_trainer(self, arguments: tuple[Any, ...], listener: Listener) -> LocalTrainer:
        trainer = AllreduceTrainer(*arguments, number=self._number, listener=listener)
        trainer.on_step = self._save_if_due
        if self._spec.checkpoint_dir_for_init:
            trainer.restore(self._spec.checkpoint_dir_for_init, keep_step=False)
        if self._spec.num_workers > 1:
            trainer.warm_up()
        return trainer

    # ------------------------------------------------------------ training

    def _train(self, work: Work) -> None:
        batches = self._batches(work)
        records = 0
        trainer = self._trainer
        if trainer is not None and not trainer.stopped:
            self._link.activity("training")
            trainer.begins(work.task)
            records = trainer.train(work.task.epoch, batches)
        self._done(work.task, records=records)
        self._stop_or_save()

    def _stop_or_save(self) -> None:
        trainer = self._trainer
        if trainer is None:
            return
        if trainer.should_stop():
            trainer.callbacks.training_ends()
            self._link.send(stop_training=pb.StopTraining(reason=trainer.stopped))
        # The master sees to checkpoints of servers; with all-reduce they are made between steps.
        if self._spec.trains_alone:
            self._save_if_due()

    def _save_if_due(self) -> None:
        trainer = self._trainer
        if trainer is None or not self._checkpoint_is_due(trainer.step):
            return
        path = trainer.save(self._checkpoint_directory())
        self._saved_step, self._saved_at = trainer.step, time.monotonic()
        ready = pb.CheckpointReady(step=trainer.step, path=os.fspath(path), places=trainer.places())
        self._link.send(checkpoint_ready=ready)
        if self._spec.uses_allreduce:
            # The queue's state that belongs to it is that of now: no worker gets on meanwhile.
            self._link.settle(SETTLE_SECONDS)

    def _checkpoint_is_due(self, step: int) -> bool:
        every = self._spec.checkpoint_steps
        if step == self._saved_step:
            return False
        return step // every != self._saved_step // every if every else self._checkpoint_is_old()

    def _checkpoint_is_old(self) -> bool:
        return time.monotonic() - self._saved_at > CHECKPOINT_SECONDS

    def _checkpoint_directory(self) -> Path:
        return Path(self._spec.checkpoint_dir) if self._spec.checkpoint_dir else self._folder.checkpoints

    # ------------------------------------------------------------ evaluation, prediction, the end

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self._loaded, self._link)

    @cached_property
    def _predictor(self) -> Predictor:
        return Predictor(self._loaded, self._link, worker=self._number, folder=self._folder, spec=self._spec)

    def _summarize(self, task: pb.Task) -> None:
        self._values = self._evaluator.values(list(task.states))
        self._events.scalars("validation", self._step, self._values)
        if self._trainer:
            self._trainer.report_loss()
            self._trainer.callbacks.epoch_ends(self._values)
        self._done(task, metrics=self._values)
        self._stop_or_save()

    def _finish(self, task: pb.Task) -> list[str]:
        if self._spec.kind == "predict":
            return finish_prediction(self._spec, self._folder, task.parts)
        if self._spec.uses_servers and not self._built:  # other workers may have done all the training
            self._build(pb.TRAIN)
        trainer = self._trainer
        if trainer is None:
            raise ElasticDLError("data: the model's data function gave no batches; there is nothing to train on")
        trainer.report_loss()
        trainer.callbacks.training_ends()
        trainer.finish()
        output, notes = finish_training(self._spec, self._folder, self._loaded, self._values, self._step)
        for note in notes:
            self._link.note("warning", note)
        return [output]

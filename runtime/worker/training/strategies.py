"""What each strategy means for a worker, apart from the steps that its trainer makes.

A strategy's object exists from the worker's start, its trainer once the model is built.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.exits import MAKES_WAY
from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.embeddings.asking import attend
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.dictfeatures import batch_spec
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.saving.tablefiles import layers_of
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.orders import Dismissed
from elasticdl_nb.runtime.worker.part import Part
from elasticdl_nb.runtime.worker.sources import Sources
from elasticdl_nb.runtime.worker.training.base import Trainer
from elasticdl_nb.runtime.worker.training.choosing import Choice
from elasticdl_nb.runtime.worker.training.connecting import Connection
from elasticdl_nb.runtime.worker.training.local import LocalTrainer
from elasticdl_nb.runtime.worker.training.misfits import (
    check_even,
    check_for_ring,
    makes_own_steps,
    note_on_tables,
    takes_means,
)
from elasticdl_nb.runtime.worker.training.own_step import OwnStep
from elasticdl_nb.runtime.worker.training.ring import AllreduceTrainer
from elasticdl_nb.runtime.worker.training.saving import Checkpoints
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer, check_model_for_servers
from elasticdl_nb.runtime.worker.training.tables import TableTrainer, tables_misfit

IDLE_SECONDS = 0.5
"""How often a worker without work looks whether a checkpoint is due."""
SETTLE_SECONDS = 60.0
"""How long training waits for the master to acknowledge a checkpoint."""
logger = logging.getLogger(__name__)

OnLoss = Callable[[int, float], None]


def served_layers(spec: JobSpec, *, ordinary: bool = False) -> ServedLayers:
    """Return what a job's model is built with; with `ordinary`, only layers that ask for it are in tables."""
    threshold = sys.maxsize if ordinary or not spec.embedding_tables else None
    return ServedLayers(threshold, seed=spec.seed, options=spec.embedding_options)


class Strategy:
    """The strategy of a job that does not train, with the plain form of everything that the others do differently."""

    serves_embeddings = False
    """Whether large embeddings are in tables beside the model. (A trained model has them as weights, or in files.)"""
    builds_first = False
    """Whether the model is built before there is any task, rather than for the first batch."""
    may_finish_untrained = False
    """Whether a worker that has seen no batch may have to write the trained model, because others did the work."""

    trainer: Trainer | None = None

    def __init__(self, part: Part) -> None:
        self._part, self._spec, self._session = part, part.spec, part.session
        self.layers = served_layers(part.spec)

    @staticmethod
    def layers_to_try(spec: JobSpec) -> ServedLayers:
        """What a model is built with to be tried before the job: by default, all layers are ordinary ones."""
        return served_layers(spec, ordinary=True)

    @staticmethod
    def is_alone(spec: JobSpec) -> bool:
        """Whether one worker has the model, and evaluates it."""
        return True

    @staticmethod
    def check(spec: JobSpec, loaded: LoadedModel, first_batch: Callable[[], Any | None]) -> None:
        """Raise ModelError or OptionError if the strategy cannot train a compiled and built model.

        `first_batch` reads records to judge by, and returns None where they can only be read in the job.
        """

    def use_tables_of(self, definition: ModelDefinition) -> None:
        """The model to come is a trained one: take the rows that it has in files from there."""
        if layers := layers_of(definition):
            self.layers, self.serves_embeddings = layers, True

    def serving(self) -> contextlib.AbstractContextManager[None]:
        """In this block the model is loaded and built."""
        return serving(self.layers) if self.serves_embeddings else contextlib.nullcontext()

    def built(self, loaded: LoadedModel, sources: Sources, on_loss: OnLoss) -> None:
        """The model is built: make its trainer, if it has one."""

    def _say_of_embeddings(self, loaded: LoadedModel) -> None:
        """Note which large embeddings are in tables and what that changes, or why they are not."""
        attend(self.layers, loaded.model)
        for note in (*self.layers.notes, note_on_tables(self.layers, loaded.model.optimizer)):
            if note:
                self._session.note("info", note)

    def before_task(self) -> None:
        """A task, or the first batch of one, comes next."""

    def after_task(self) -> None:
        """The result of a task was sent."""

    def before_finish(self) -> None:
        """There are no further steps, and the trained model is written next."""

    def while_idle(self, ready: Callable[[], bool]) -> None:
        """There is nothing to do; return once `ready` is true, or earlier."""

    def other_servers_come(self) -> bool:
        """The task under way has lost its servers; return whether others replace them, which makes the task void."""
        return False


class TrainingAlone(Strategy):
    """One process, with tables for large embeddings if the optimizer can handle them."""

    serves_embeddings = True
    trainer: LocalTrainer | None = None

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._checkpoints = Checkpoints(part)

    def built(self, loaded: LoadedModel, sources: Sources, on_loss: OnLoss) -> None:
        """See `Strategy`."""
        layers, arguments = self.layers, (self._spec, loaded, self._session, sources[pb.TRAIN].element_spec, on_loss)
        layers.check_options(loaded.model)
        if layers.layers and (misfit := tables_misfit(loaded)):
            layers.refuse_options(misfit)
            self._session.note("info", f"large embeddings are trained as ordinary layers: {misfit}")
            layers.unserve()
        self.trainer = TableTrainer(*arguments, layers) if layers.layers else LocalTrainer(*arguments)
        self._say_of_embeddings(loaded)
        if self._part.restore_from:
            self.trainer.restore(self._part.restore_from, keep_step=True)
        elif self._part.initial:
            self.trainer.restore(self._part.initial, keep_step=False)
        self._checkpoints.begin(self.trainer.step)

    def after_task(self) -> None:
        """See `Strategy`. Checkpoints are made between tasks."""
        if self.trainer is not None:
            self._checkpoints.save_if_due(self.trainer)

    def while_idle(self, ready: Callable[[], bool]) -> None:
        """See `Strategy`. What was learnt from the last data so far is not to wait for more to come."""
        while self._spec.follow and self.trainer is not None and not ready():
            self._checkpoints.save_if_due(self.trainer)
            self._session.orders.wait(IDLE_SECONDS)

    def before_finish(self) -> None:
        """See `Strategy`."""
        if self.trainer is not None:
            self._checkpoints.save_last(self.trainer)


class TrainingWithServers(Strategy):
    """Parameters are on servers; the master takes care of their checkpoints."""

    serves_embeddings = True
    may_finish_untrained = True
    trainer: ServerTrainer | None = None

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._connection = Connection(part)

    @staticmethod
    def layers_to_try(spec: JobSpec) -> ServedLayers:
        """See `Strategy`. Large embeddings are on the servers."""
        return served_layers(spec)

    @staticmethod
    def is_alone(spec: JobSpec) -> bool:
        """See `Strategy`. Servers have the model."""
        return False

    @staticmethod
    def check(spec: JobSpec, loaded: LoadedModel, first_batch: Callable[[], Any | None]) -> None:
        """See `Strategy`."""
        check_model_for_servers(loaded, spec)
        if takes_means(spec) and (batch := first_batch()) is not None:
            check_even(loaded, batch)

    def built(self, loaded: LoadedModel, sources: Sources, on_loss: OnLoss) -> None:
        """See `Strategy`."""
        form = sources[pb.TRAIN].element_spec
        self.layers.check_options(loaded.model)
        self.trainer = ServerTrainer(self._spec, loaded, self._session, form, on_loss, self.layers)
        self._say_of_embeddings(loaded)

    def before_task(self) -> None:
        """See `Strategy`. The trainer must use the current servers."""
        if self.trainer is None or (servers := self._connection.other_servers()) is None:
            return
        if self.trainer.finished:
            # The job goes back to a checkpoint, but this model is a plain one by now: a new process is needed.
            logger.warning("the job continues after the model was finished; this worker makes way for a new one")
            os._exit(MAKES_WAY)
        self._session.activity("connecting")
        self.trainer.connect(self._connection.to(servers), servers.generation)

    def other_servers_come(self) -> bool:
        """See `Strategy`. Other servers mean that the job goes back to a checkpoint."""
        return self._connection.wait_for_others()


class TrainingInRing(Strategy):
    """Every worker has the whole model, as ordinary layers, and all workers make the same steps."""

    builds_first = True
    trainer: AllreduceTrainer | None = None

    def __init__(self, part: Part) -> None:
        super().__init__(part)
        self._checkpoints = Checkpoints(part)

    @staticmethod
    def is_alone(spec: JobSpec) -> bool:
        """See `Strategy`."""
        return spec.num_workers == 1

    @staticmethod
    def check(spec: JobSpec, loaded: LoadedModel, first_batch: Callable[[], Any | None]) -> None:
        """See `Strategy`."""
        check_for_ring(loaded, spec)
        if spec.num_workers > 1 and (batch := first_batch()) is not None:
            if makes_own_steps(loaded.model):
                OwnStep(loaded, tf.nest.map_structure(batch_spec, batch)).judge(batch)
            else:
                check_even(loaded, batch)

    def built(self, loaded: LoadedModel, sources: Sources, on_loss: OnLoss) -> None:
        """See `Strategy`."""
        assert self._part.listener is not None
        self.trainer = AllreduceTrainer(
            self._spec, loaded, self._session, sources[pb.TRAIN].element_spec, on_loss,
            number=self._part.number, listener=self._part.listener, on_step=self._save_if_due,
        )  # fmt: skip
        if self._part.initial:
            self.trainer.restore(self._part.initial, keep_step=False)
        if self._spec.num_workers > 1:
            self.trainer.warm_up()
        self._checkpoints.begin(self.trainer.step)

    def _save_if_due(self) -> None:
        """Checkpoints are made between steps."""
        if self.trainer is not None and self._checkpoints.save_if_due(self.trainer):
            # The queue's state that belongs to it is the present one: no worker makes progress meanwhile.
            self._session.settle(SETTLE_SECONDS)

    def before_finish(self) -> None:
        """See `Strategy`."""
        if self.trainer is not None:
            self._checkpoints.save_last(self.trainer)

    def while_idle(self, ready: Callable[[], bool]) -> None:
        """See `Strategy`. Others may make steps, in which this worker takes part."""
        if self.trainer is not None:
            with contextlib.suppress(Dismissed):
                self.trainer.take_part(ready)


_STRATEGIES: dict[Choice, type[Strategy]] = {
    Choice.NOT_AT_ALL: Strategy,
    Choice.ALONE: TrainingAlone,
    Choice.SERVERS: TrainingWithServers,
    Choice.RING: TrainingInRing,
}


def strategy_to_try(spec: JobSpec) -> type[Strategy]:
    """Return the class whose `layers_to_try` and `check` say whether a job can train its model."""
    return _STRATEGIES[Choice.of(spec)]


def strategy_of(part: Part) -> Strategy:
    """Return the strategy that was chosen for a worker."""
    return _STRATEGIES[part.choice](part)

"""Metrics of the model over the records of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.teststep import TestStep
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages
from elasticdl_nb.runtime.worker.batches import batch_size
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.unsuitable import explained


class Evaluator:
    """Evaluates a built model. Metric states of several tasks may be added up before their values are computed.

    `element_spec()` returns the form of the batches to come.
    """

    def __init__(
        self, loaded: LoadedModel, session: WorkerSession, element_spec: Callable[[], Any] = lambda: None
    ) -> None:
        self._loaded, self._session, self._element_spec = loaded, session, element_spec
        self._step = TestStep(loaded)
        self._traced = False

    def trace(self) -> None:
        """Build all metrics, whatever this process has evaluated; raises ModelError if they do not fit the model."""
        spec = self._element_spec()
        if self._traced or not isinstance(spec, tuple):
            return
        if all(getattr(part.shape, "rank", None) is not None for part in tf.nest.flatten(spec)):
            self._step.trace(spec)
        self._traced = True

    def evaluate(
        self, batches: Iterator[Any], step: int, around: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> tuple[int, list[pb.MetricState]]:
        """Return the number of records in the batches and the metrics' states over them; `around` encloses each."""
        kept = self._loaded.kept_metrics()
        self._step.reset()
        records = 0
        for batch in batches:
            size = batch_size(batch[0])
            with around(), explained(self._loaded, batch):
                self._step.update(batch, size)
            records += size
            self._session.progress(step, size)
        states = state_messages(self._step.states())
        self._loaded.give_back_metrics(kept)
        return records, states

    def values(self, states: list[pb.MetricState]) -> dict[str, float]:
        """Return the metrics' values for summed states."""
        self.trace()
        kept = self._loaded.kept_metrics()
        values = self._step.results(read_states(states))
        self._loaded.give_back_metrics(kept)
        return values

"""Metrics of the model over the records of a task."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages
from elasticdl_nb.runtime.worker.batches import batch_size, with_own_losses
from elasticdl_nb.runtime.worker.session import WorkerSession


class Evaluator:
    """Evaluates a built model. Metric states of several tasks may be added up before their values are computed."""

    def __init__(self, loaded: LoadedModel, session: WorkerSession) -> None:
        self._loaded, self._session = loaded, session
        self._metrics = loaded.metrics()
        self._forward = tf.function(self._outputs_and_loss, reduce_retracing=True)

    def _outputs_and_loss(self, features: Any, labels: Any) -> tuple[Any, tf.Tensor]:
        outputs = self._loaded.call_model(features, training=False)
        return outputs, with_own_losses(self._loaded.compute_loss(labels, outputs), self._loaded.model)

    def evaluate(self, batches: Iterator[Any], step: int) -> tuple[int, list[pb.MetricState]]:
        """Return the number of records in the batches and the metrics' states over them."""
        self._metrics.reset()
        records = 0
        for features, labels in batches:
            outputs, loss = self._forward(features, labels)
            size = batch_size(features)
            self._metrics.update(labels, outputs, loss, size)
            records += size
            self._session.progress(step, size)
        return records, state_messages(self._metrics.states())

    def values(self, states: list[pb.MetricState]) -> dict[str, float]:
        """Return the metrics' values for summed states."""
        self._metrics.load(read_states(states))
        return self._metrics.results()

"""Training steps of a model that is trained in this process alone."""

from __future__ import annotations

from typing import Any

from elasticdl_nb.runtime.worker.batches import batch_size
from elasticdl_nb.runtime.worker.training.whole import WholeModelTrainer


class LocalTrainer(WholeModelTrainer):
    """Applies each batch as one step."""

    def _make_step(self, features: Any, labels: Any) -> Any:
        loss = self._apply_batch(features, labels)
        self.step += 1
        self._used(batch_size(features), loss)
        return loss

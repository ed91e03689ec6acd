"""One worker's share of an epoch that has no end."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import tensorflow as tf

from elasticdl_nb.runtime.worker.training.epochs import Epochs


def test_losses_of_an_epoch_without_end_do_not_stay_in_memory() -> None:
    values = np.random.default_rng(0).normal(size=5000)
    records = np.random.default_rng(1).integers(1, 9, size=5000)
    epochs = Epochs()
    epochs.task_begins(1)
    alive = most = 0

    def left() -> None:
        nonlocal alive
        alive -= 1

    for value, number in zip(values, records, strict=True):
        loss = tf.constant(value)
        weakref.finalize(loss, left)
        alive += 1
        epochs.used(loss, int(number))
        most = max(most, alive)
    assert most < 2000
    part = epochs.so_far(5000, mean_loss=True)
    assert part.records == records.sum()
    assert part.logs["loss"] == pytest.approx(values @ records / records.sum(), rel=1e-12)

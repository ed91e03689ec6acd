"""A stream of ids that keep coming, with and without bounds of the table: memory, quality and speed.

    python benchmarks/bounded_tables.py [--ids 50000000] [--bounds max_rows=1000000 max_rows=1000000,min_count=2 …]
                                        [--batch 1024]

Records of a click-through task have 26 Zipf-distributed ids each, of an unlimited number, whose hidden weights make the
label. A logistic regression with a vector of 16 values per id, and Adam, trains on the stream in several ways, in turns
of 20 steps: a table without bounds, and one with each of the bounds; by default `max_rows` of a hundredth to an eighth
of the ids, alone and with `min_count=2`. `row_dtype=bfloat16` may be one of them. `--seed` changes initial values and
the stream. A line gives, for each, rows, bytes of the table, the bytes that `max_rows` implies (its values, and what is
kept beside them), records per second of processor time (and as a part of those without bounds), the AUC on records that
are not trained on, and what it costs beside the table without bounds. `no row` is the
part of the cost that remains if ids have the values that they have without bounds, except for those that have no row at
the end. The rest comes from rows that left and came back, or came late: they have learnt less.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import elasticdl_nb
from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import load
from elasticdl_nb.runtime.parameters.bounded import BoundedTable
from elasticdl_nb.runtime.parameters.rows.kernels_numpy import mix
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.parameters.table import EmbeddingTable
from elasticdl_nb.runtime.protocol.master_pb2 import Task
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.tables import TableTrainer

FIELDS, DIM, TURN = 26, 16, 20
BESIDE = 33
"""Bytes that a row takes at most beside its values: id, last use, index and the list of free rows."""
ALONE, COUNTED = (100, 50, 25, 16, 12), (200, 100, 50)
"""`max_rows` by default, alone and with `min_count=2`: the stream's ids by these."""
FORM = ({"ids": tf.TensorSpec([None, FIELDS], tf.int64)}, tf.TensorSpec([None, 1], tf.float32))


class Clicks(keras.Model):
    """A logistic regression on the sum of the ids' vectors."""

    def __init__(self, bounds: dict[str, Any]) -> None:
        super().__init__()
        self.vectors = elasticdl_nb.Embedding(DIM, combiner="sum", name="ids", **bounds)
        self.out = keras.layers.Dense(1)

    def call(self, features: Any) -> Any:
        """Return the logits [n, 1]."""
        return self.out(self.vectors(features["ids"]))


class Silent:
    """The session of a worker that has no master."""

    def note(self, level: str, text: str) -> None:
        pass

    def progress(self, step: int, records: int) -> None:
        pass

    def loss(self, step: int, value: float) -> None:
        pass


def stream(batch: int, seed: int) -> Iterator[tuple[dict[str, tf.Tensor], tf.Tensor]]:
    """Yield batches for ever."""
    random = np.random.default_rng(seed)
    while True:
        ids = random.zipf(1.2, (batch, FIELDS)).astype(np.int64) * FIELDS + np.arange(FIELDS)
        weights = (mix(ids) >> np.uint64(40)).astype(np.float64) / 2.0**24 - 0.5  # of each id, from -0.5 to 0.5
        chance = 1 / (1 + np.exp(-2.0 * weights.sum(axis=1, keepdims=True)))
        yield {"ids": tf.constant(ids)}, tf.constant((random.random((batch, 1)) < chance).astype(np.float32))


class Trained:
    """A model on its way through the stream."""

    def __init__(self, name: str, bounds: dict[str, Any], seed: int) -> None:
        self.name, self.bounds, self.seconds, self.records = name, bounds, 0.0, 0
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        layers = ServedLayers(seed=seed)
        with serving(layers):
            zoo = os.path.dirname(os.path.abspath(__file__))
            model = load(ModelDefinition(zoo, "bounded_tables.custom_model", {"bounds": bounds}))
            model.build(FORM[0])
        spec = JobSpec(kind="train", model_def="bounded_tables")
        self.trainer = TableTrainer(spec, model, Silent(), FORM, lambda *_: None, layers)  # type: ignore[arg-type]

    def train(self, batches: list[Any], timed: bool) -> None:
        """Make a step with each batch."""
        start = time.process_time()
        records = self.trainer.train(Task(), iter(batches))
        if timed:
            self.seconds += time.process_time() - start
            self.records += records

    @property
    def table(self) -> EmbeddingTable:
        """The table of rows."""
        (table,) = self.trainer._rows._service.store.tables.values()
        return table

    def auc(self, batches: list[Any]) -> float:
        """Return the area under the curve on these batches."""
        return area([self.trainer.model(features).numpy() for features, _ in batches], batches)

    def auc_without(self, batches: list[Any], bounded: BoundedTable) -> float:
        """Return what `auc` would be if ids that have no row in another table had their initial values here."""
        kernel, bias = (one.numpy() for one in self.trainer.model.out.weights)
        untrained, scores = EmbeddingTable(self.table.spec, self.table.rule), []
        for features, _ in batches:
            ids, places = np.unique(features["ids"], return_inverse=True)
            rows, absent = self.table.lookup(ids, create=False), bounded._reused.find(ids) < 0
            rows[absent] = untrained.lookup(ids[absent], create=False)
            scores.append(rows[places.reshape(-1, FIELDS)].sum(axis=1) @ kernel + bias)
        return area(scores, batches)

    def report(self, held_out: list[Any], unbounded: Trained) -> str:
        """Return the line of results."""
        held, auc = self.trainer._rows.held(), self.auc(held_out)
        said = f"AUC {auc:.4f}"
        if isinstance(self.table, BoundedTable):
            best = unbounded.auc(held_out)
            without = best - unbounded.auc_without(held_out, self.table)
            said += f", costs {best - auc:.4f} (no row: {without:.4f})"
        if "row_dtype" in self.bounds:
            said += f", costs {unbounded.auc(held_out) - auc:.5f}"
        values = DIM * ((2 if "row_dtype" in self.bounds else 4) + 4 * 2)
        implied = self.bounds.get("max_rows", 0) * (values + BESIDE)
        return (
            f"{self.name:<30} {held.rows:>10,} rows {held.bytes / 2**20:8.1f} MiB"
            + (f" (implied {implied / 2**20:.1f})" if implied else "")
            + f"  {held.admitted:,} admitted, {held.evicted:,} evicted"
            f"  {self.records / self.seconds:,.0f} records/s ({unbounded.seconds / self.seconds:.2f})  {said}"
        )


def area(scores: list[np.ndarray], batches: list[Any]) -> float:
    """Return the area under the curve of the receiver's characteristic, exactly."""
    every = np.concatenate(scores)[:, 0]
    labels = np.concatenate([labels.numpy()[:, 0] for _, labels in batches]) > 0
    ranks = np.empty(every.size)
    ranks[np.argsort(every)] = np.arange(1, every.size + 1)
    positive = labels.sum()
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (labels.size - positive)))


def custom_model(bounds: dict[str, Any]) -> keras.Model:
    """The model, as workers load it."""
    return Clicks(bounds)


def loss(labels: Any, outputs: Any) -> Any:
    """Cross-entropy of logits."""
    return keras.losses.BinaryCrossentropy(from_logits=True)(labels, outputs)


def optimizer() -> keras.optimizers.Optimizer:
    """Adam."""
    return keras.optimizers.Adam(0.001)


def main() -> None:
    """Train in turns, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=50_000_000)
    parser.add_argument("--bounds", nargs="+")
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    keep_freed_buffers()
    trained = [Trained("unbounded", {}, given.seed)]
    alone = [f"max_rows={given.ids // part}" for part in ALONE]
    counted = [f"max_rows={given.ids // part},min_count=2" for part in COUNTED]
    for text in given.bounds or alone + counted:
        pairs = (pair.partition("=") for pair in text.split(","))
        trained.append(
            Trained(text, {name: int(one) if one.isdecimal() else one for name, _, one in pairs}, given.seed)
        )
    batches = stream(given.batch, 2 * given.seed - 2)
    turns = max(2, given.ids // (given.batch * FIELDS * TURN))
    for turn in range(turns):
        some = [next(batches) for _ in range(TURN)]
        for one in trained if turn % 2 else trained[::-1]:
            one.train(some, timed=turn > 0)
    held_out = [batch for batch, _ in zip(stream(given.batch, 2 * given.seed - 1), range(200), strict=False)]
    for one in trained:
        print(one.report(held_out, trained[0]), flush=True)


if __name__ == "__main__":
    main()

"""Embedding tables against NumPy, TensorFlow's own operations and Keras' sparse updates.

    python benchmarks/embedding.py [--rows 1000000] [--dim 16] [--batch 26624]

A batch has 26 features of 1024 records with Zipf-distributed ids. Each line gives the median time of ours, those of the
others in the same run, and how many times slower they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.parameters.optimizers.rules import optimizer_from_config
from elasticdl_nb.runtime.parameters.rows import kernels, kernels_numpy
from elasticdl_nb.runtime.parameters.rows.index import RowIndex, deduplicate
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.parameters.table import EmbeddingTable, TableSpec

OPTIMIZERS: dict[str, Callable[[], Any]] = {
    "SGD": lambda: keras.optimizers.SGD(0.01),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.01),
    "Adam": lambda: keras.optimizers.Adam(0.01),
}


class NumpyUpdate:
    """An update that never uses its compiled loop."""

    def __init__(self, update: Any) -> None:
        self.apply = update.apply_plain


def median(action: Callable[[Any], Any], batches: list[Any], seconds: float = 1.0) -> float:
    """Return the median time in ms of `action` on the batches in turn, over at least 3 and about `seconds`."""
    action(batches[0])
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        batch = batches[len(times) % len(batches)]
        start = time.perf_counter()
        action(batch)
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def report(name: str, ours: float, others: dict[str, float]) -> None:
    compared = "   ".join(f"{other} {took:.2f} ms ({took / ours:.1f}x)" for other, took in others.items())
    print(f"{name:<20} {ours:7.2f} ms   {compared}", flush=True)


def new_table(
    ids: Any, dim: int, optimizer: str, *, compiled: bool = True, row_dtype: str = "float32"
) -> EmbeddingTable:
    rule = optimizer_from_config(keras.optimizers.serialize(OPTIMIZERS[optimizer]())).rule
    if not compiled:
        rule = dataclasses.replace(rule, update=NumpyUpdate(rule.update))
    table = EmbeddingTable(TableSpec("t", dim, row_dtype=row_dtype), rule, kernels if compiled else kernels_numpy)
    for start in range(0, ids.size, 1 << 16):
        table.lookup(ids[start : start + (1 << 16)])
    return table


def numbering(order: Any, batches: list[Any]) -> None:
    rows = int(order.max()) + 1
    tensors = [tf.constant(ids) for ids in batches]
    report(
        "deduplicate", median(deduplicate, batches),
        {"NumPy": median(lambda ids: np.unique(ids, return_inverse=True), batches), "TF": median(tf.unique, tensors)},
    )  # fmt: skip

    index, model = RowIndex(), dict(zip(range(rows), range(rows), strict=True))
    index.find_or_insert(order)
    hashed = tf.lookup.experimental.MutableHashTable(tf.int64, tf.int64, -1)
    hashed.insert(tf.range(rows, dtype=tf.int64), tf.range(rows, dtype=tf.int64))
    lists = [ids.tolist() for ids in batches]
    report(
        "id to row", median(index.find_or_insert, batches),
        {"dict": median(lambda ids: [model[i] for i in ids], lists), "TF hash table": median(hashed.lookup, tensors)},
    )  # fmt: skip


def lookups(order: Any, dim: int, batches: list[Any]) -> None:
    rows = int(order.max()) + 1
    table, plain = new_table(order, dim, "SGD"), new_table(order, dim, "SGD", compiled=False)
    halves = new_table(order, dim, "SGD", row_dtype="bfloat16")
    variable = tf.Variable(tf.zeros((rows, dim)))
    array = np.zeros((rows, dim), np.float32)
    report(
        "lookup", median(table.lookup, batches),
        {
            "bfloat16": median(halves.lookup, batches),
            "NumPy table": median(plain.lookup, batches),
            "array[ids]": median(lambda ids: array[ids], batches),
            "tf.gather": median(lambda ids: tf.gather(variable, ids), [tf.constant(ids) for ids in batches]),
        },
    )  # fmt: skip


def updates(name: str, order: Any, dim: int, batches: list[Any]) -> None:
    rows = int(order.max()) + 1
    rng = np.random.default_rng(1)
    pairs = [(ids, rng.normal(size=(ids.size, dim)).astype(np.float32)) for ids in batches]
    tensors = [(tf.constant(ids), tf.constant(values)) for ids, values in pairs]

    def apply_to(table: EmbeddingTable) -> Callable[[Any], None]:
        return lambda pair: table.apply(*pair, 0.01, 1)

    halves = new_table(order, dim, name, row_dtype="bfloat16")
    others = {
        "bfloat16": median(apply_to(halves), pairs),
        "NumPy": median(apply_to(new_table(order, dim, name, compiled=False)), pairs),
    }
    if name in RAW:
        others["TF op"] = median(RAW[name](rows, dim), tensors)
    optimizer, variable = OPTIMIZERS[name](), keras.Variable(np.zeros((rows, dim), np.float32))
    optimizer.build([variable])

    @tf.function
    def keras_apply(ids: Any, values: Any) -> None:
        optimizer.apply([tf.IndexedSlices(values, ids, tf.constant([rows, dim], tf.int64))], [variable])

    others["Keras"] = median(lambda pair: keras_apply(*pair), tensors)
    report(f"{name} apply", median(apply_to(new_table(order, dim, name)), pairs), others)


def raw_sgd(rows: int, dim: int) -> Callable[[Any], Any]:
    weights = tf.Variable(tf.zeros((rows, dim)))
    return lambda pair: tf.raw_ops.ResourceScatterSub(
        resource=weights.handle, indices=pair[0], updates=pair[1] * tf.constant(0.01)
    )


def raw_adagrad(rows: int, dim: int) -> Callable[[Any], Any]:
    weights, accumulator = tf.Variable(tf.zeros((rows, dim))), tf.Variable(tf.fill((rows, dim), 0.1))

    def apply(pair: Any) -> None:
        unique, places = tf.unique(pair[0])
        summed = tf.math.unsorted_segment_sum(pair[1], places, tf.size(unique))
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=weights.handle, accum=accumulator.handle, lr=0.01, epsilon=1e-7, grad=summed, indices=unique
        )

    return apply


RAW = {"SGD": raw_sgd, "Adagrad": raw_adagrad}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    keep_freed_buffers()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--batch", type=int, default=26 * 1024)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    # Ids are not ordered by popularity, as if they came from hashing; popular ones tend to be seen first.
    spread = rng.permutation(options.rows)
    *batches, seen = [spread[rng.zipf(1.2, options.batch) % options.rows] for _ in range(9)]
    order = np.concatenate([seen, np.arange(options.rows)])
    distinct = np.unique(batches[0]).size
    print(f"{options.rows} rows of {options.dim}; batches of {options.batch} ids, {distinct} of them distinct\n")
    numbering(order, batches)
    lookups(order, options.dim, batches)
    for name in OPTIMIZERS:
        updates(name, order, options.dim, batches)


if __name__ == "__main__":
    main()

"""Milliseconds of an all-reduce step: gradients exchanged while the rest is computed, or all of them afterwards.

    python benchmarks/overlap.py [--models resnet mobilenet mlp] [--batch 32] [--links 0 1000] [--blocks 5] [--steps 8]

Two processes make the steps of a worker, each bound to a core of its own, TensorFlow to one thread. Both ways take
turns in blocks; a figure is the median over blocks of the median step. `hidden` is the part of the exchange in which
the process computed. A link is in Mbit/s: the exchange of a bucket then takes at least as long as its bytes would on
it, which is simulated by waiting. 0 is the loopback device as it is, where to send costs the processor time that
computing needs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from allreduce_training import MODEL

WORLD = 2
MLP = """

def mlp():
    inputs = keras.Input((256,), name="x")
    x = inputs
    for _ in range(6):
        x = keras.layers.Dense(1024, "relu")(x)
    return keras.Model(inputs, keras.layers.Dense(10)(x))
"""


class Link:
    """A collective whose sums take as long as on a link of so many Mbit/s; 0 is no limit."""

    def __init__(self, ring: Any, rate: float) -> None:
        self._ring, self._rate = ring, rate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def allreduce(self, values: Any, *, exact: bool = False) -> None:
        """Add up, and wait."""
        until = time.monotonic()
        if self._rate:
            until += values.nbytes * 2 * (self.world - 1) / self.world * 8 / (self._rate * 1e6)
        self._ring.allreduce(values, exact=exact)
        time.sleep(max(0.0, until - time.monotonic()))


def work(rank: int, zoo: str, given: argparse.Namespace, ends: Any) -> None:
    """One worker's process."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    import keras
    import numpy as np
    import tensorflow as tf

    from elasticdl_nb.runtime.allreduce.connect import Listener
    from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers

    keep_freed_buffers()
    listener = Listener("benchmark")
    ends.send(listener.address)
    ring = listener.connect(1, rank, ends.recv())
    for model in given.models:
        keras.utils.set_random_seed(1)
        form = ((256,) if model == "mlp" else (32, 32, 3)), tf.int32
        step = make_step(zoo, model, form[0], given.batch)
        random = np.random.default_rng(rank)
        batch = (
            tf.constant(random.random((given.batch, *form[0])), tf.float32),
            tf.constant(random.integers(0, 10, given.batch), tf.int32),
        )
        for link in given.links:
            ends.send((model, link, len(step.buckets), measure(step, Link(ring, link), batch, given)))
    ring.barrier()
    ring.close()
    listener.close()


def make_step(zoo: str, model: str, shape: tuple[int, ...], records: int) -> Any:
    """Return a worker's step of a model, ready to be made."""
    import tensorflow as tf

    from elasticdl_nb.runtime.model.loading.loader import ModelDefinition, load
    from elasticdl_nb.runtime.worker.training.ring_step import RingStep

    form = (tf.TensorSpec([None, *shape], tf.float32), tf.TensorSpec([None], tf.int32))
    loaded = load(ModelDefinition(zoo=zoo, model_def=f"models.{model}"))
    loaded.build(form[0])
    loaded.compile()
    optimizer = loaded.model.optimizer
    optimizer.build(loaded.model.trainable_variables)
    step = RingStep(loaded, optimizer, form)
    step.warm_up(records)
    return step


def measure(step: Any, ring: Any, batch: Any, given: argparse.Namespace) -> dict[str, list[float]]:
    """Return milliseconds a step, block by block, for each way, and the hidden parts."""
    from elasticdl_nb.runtime.allreduce.places import Entry, Place
    from elasticdl_nb.runtime.worker.training.exchange import Exchange

    entry = Entry(given.batch, Place(1, 1, 1))
    found: dict[str, list[float]] = {"while computing": [], "afterwards": [], "hidden": []}
    for _ in range(given.blocks):
        for way in ("while computing", "afterwards"):
            Exchange.overlaps = way == "while computing"
            before, times = step.exchanged, []
            for _ in range(given.steps):
                ring.barrier()
                began = time.perf_counter()
                step.begin(ring, entry)
                step.compute(batch)
                step.apply(step.result())
                times.append((time.perf_counter() - began) * 1e3)
            found[way].append(statistics.median(times))
            if Exchange.overlaps:
                taken = step.exchanged.exchanging - before.exchanging
                found["hidden"].append((step.exchanged.hidden - before.hidden) / taken)
    return found


def main() -> None:
    """Run the processes and print what they measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["resnet", "mobilenet", "mlp"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--links", type=float, nargs="+", default=[0, 1000])
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8)
    given = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(WORLD)]
    with tempfile.TemporaryDirectory() as zoo:
        (Path(zoo) / "models.py").write_text(MODEL + MLP)
        processes = [context.Process(target=work, args=(rank, zoo, given, pipes[rank][1])) for rank in range(WORLD)]
        for process in processes:
            process.start()
        addresses = [pipe[0].recv() for pipe in pipes]
        for pipe in pipes:
            pipe[0].send(addresses)
        for _ in range(len(given.models) * len(given.links)):
            model, link, buckets, found = pipes[0][0].recv()
            pipes[1][0].recv()
            whiles, after, hidden = (statistics.median(found[name]) for name in found)
            ratios = [b / a for a, b in zip(found["while computing"], found["afterwards"], strict=True)]
            print(
                f"{model:<10} {f'{link:.0f} Mbit/s' if link else 'loopback':<12} {buckets:2} buckets: "
                f"while computing {whiles:7.1f} ms, afterwards {after:7.1f} ms: {statistics.median(ratios):.2f} times "
                f"({min(ratios):.2f} to {max(ratios):.2f}), {hidden:.0%} hidden", flush=True,
            )  # fmt: skip
        for process in processes:
            process.join()


if __name__ == "__main__":
    main()

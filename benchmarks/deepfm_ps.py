"""DeepFM on data like Criteo's: Keras' own `model.fit`, tables in the worker process, and parameter servers.

    python benchmarks/deepfm_ps.py [--batch 512 4096] [--dim 8 16] [--seconds 5] [--mode asynchronous]

13 numbers and 26 categorical columns of 100,000 values each, Zipf-distributed, with Adam. For each batch size and
length of rows, these train in turn, a block of steps at a time, in one run: `model.fit`, tables, one server and one
worker, two servers and two workers (processes of their own, which share the block). A line gives the records per second
of each (the median of the blocks) and their ratio to `model.fit`'s.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import elasticdl_nb.model_zoo
from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, serving
from elasticdl_nb.runtime.model.loading.loader import LoadedModel, load
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.protocol.master_pb2 import Task
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.security import leave
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.training.servers import ServerTrainer
from elasticdl_nb.runtime.worker.training.tables import TableTrainer

VOCABULARY = 100_000
FORM = (
    {"dense": tf.TensorSpec([None, 13], tf.float32), "sparse": tf.TensorSpec([None, 26], tf.int32)},
    tf.TensorSpec([None, 1], tf.float32),
)
SERVER = """
import sys
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.ps.server import ParameterServer
from elasticdl_nb.runtime.parameters.generations import StoreService
keep_freed_buffers()
server = ParameterServer(StoreService(server=int(sys.argv[1]), servers=int(sys.argv[2])), "benchmark")
print(server.address, flush=True)
server.run()
"""
Batch = tuple[dict[str, tf.Tensor], tf.Tensor]


class Silent:
    """The session of a worker that has no master."""

    def note(self, level: str, text: str) -> None:
        print(f"{level}: {text}")

    def progress(self, step: int, records: int) -> None:
        pass

    def loss(self, step: int, value: float) -> None:
        pass


def make_batches(count: int, size: int) -> list[Batch]:
    random = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        dense = random.normal(size=(size, 13)).astype(np.float32)
        sparse = (random.zipf(1.2, (size, 26)) % VOCABULARY).astype(np.int32)
        labels = (random.random((size, 1)) < 0.25).astype(np.float32)
        batches.append(({"dense": tf.constant(dense), "sparse": tf.constant(sparse)}, tf.constant(labels)))
    return batches


def definition(dim: int) -> ModelDefinition:
    params = {"vocabulary_size": VOCABULARY, "embedding_dim": dim}
    return ModelDefinition(zoo=elasticdl_nb.model_zoo.__path__[0], model_def="deepfm.deepfm", params=params)


def with_fit(dim: int) -> Callable[[list[Batch]], object]:
    model = load(definition(dim))
    model.build(FORM[0])
    model.model.compile(keras.optimizers.Adam(0.001), keras.losses.BinaryCrossentropy(from_logits=True))

    def train(batches: list[Batch]) -> None:
        rows = [tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *batches)]
        size = len(batches[0][1])
        model.model.fit(*rows[0], batch_size=size, shuffle=False, verbose=0)

    return train


def served(dim: int) -> tuple[LoadedModel, ServedLayers]:
    layers = ServedLayers()
    with serving(layers):
        model = load(definition(dim))
        model.build(FORM[0])
    return model, layers


def with_tables(dim: int) -> Callable[[list[Batch]], object]:
    model, layers = served(dim)
    trainer = TableTrainer(JobSpec(kind="train", model_def="deepfm"), model, Silent(), FORM, lambda *_: None, layers)  # type: ignore[arg-type]
    return lambda batches: trainer.train(Task(), iter(batches))


def with_servers(dim: int, addresses: list[str], use_async: bool) -> Callable[[list[Batch]], object]:
    model, layers = served(dim)
    spec = JobSpec(kind="train", model_def="deepfm", use_async=use_async)
    trainer = ServerTrainer(spec, model, Silent(), FORM, lambda *_: None, layers)  # type: ignore[arg-type]
    trainer.connect(ParameterClient(addresses, "benchmark", source=str(os.getpid()), synchronous=not use_async))
    return lambda batches: trainer.train(Task(), iter(batches))


def train_on_demand(options: argparse.Namespace) -> None:
    """Be one of several workers: train on a part of the block for every line on standard input."""
    count, batch = options.worker
    train = with_servers(options.dim[0], options.servers, options.mode == "asynchronous")
    batches = make_batches(count, batch)
    for _ in sys.stdin:
        train(batches)
        print("done", flush=True)


def with_workers(
    workers: int, count: int, batch: int, dim: int, addresses: list[str], mode: str
) -> tuple[list[subprocess.Popen[str]], Callable[[list[Batch]], object]]:
    """Start workers that share blocks of `count` batches; return them, and a function that trains on one block."""
    command = [
        sys.executable, __file__, "--worker", str(count // workers), str(batch), "--dim", str(dim), "--mode", mode,
        "--servers", *addresses,
    ]  # fmt: skip
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(workers)
    ]

    def train(_: list[Batch]) -> None:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline() != "done\n":
                raise SystemExit("a worker died")

    return processes, train


def start_server(number: int, count: int) -> tuple[subprocess.Popen[str], str]:
    """Return a server's process and address."""
    command = [sys.executable, "-c", SERVER, str(number), str(count)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def measure(batch: int, dim: int, seconds: float, mode: str) -> None:
    keras.backend.clear_session()
    servers = [start_server(0, 1), start_server(0, 2), start_server(1, 2)]
    processes, addresses = [process for process, _ in servers], [address for _, address in servers]
    count = max(10, 16384 // batch) // 2 * 2
    try:
        workers, with_two = with_workers(2, count, batch, dim, addresses[1:], mode)
        processes += workers
        ways = {
            "model.fit": with_fit(dim),
            "tables": with_tables(dim),
            "1 + 1": with_servers(dim, addresses[:1], mode == "asynchronous"),
            "2 + 2": with_two,
        }
        blocks = make_batches(count, batch)
        records = batch * count
        for train in ways.values():
            train(blocks)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        end = time.perf_counter() + len(ways) * seconds
        while time.perf_counter() < end or len(rates["2 + 2"]) < 3:
            for name, train in ways.items():
                start = time.perf_counter()
                train(blocks)
                rates[name].append(records / (time.perf_counter() - start))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for address in addresses:
            leave(address)
    rate = {name: float(np.median(values)) for name, values in rates.items()}
    columns: list[Any] = [f"{name} {r:9,.0f}/s ({r / rate['model.fit']:.2f}x)" for name, r in rate.items()]
    print(f"batch {batch:5} dim {dim:3}   {'   '.join(columns)}", end="")
    print(f"   1 + 1 / tables {rate['1 + 1'] / rate['tables']:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--dim", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--mode", choices=["asynchronous", "synchronous"], default="asynchronous")
    parser.add_argument("--worker", type=int, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--servers", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_buffers()
    if options.worker:
        train_on_demand(options)
        return
    for batch, dim in itertools.product(options.batch, options.dim):
        measure(batch, dim, options.seconds, options.mode)


if __name__ == "__main__":
    main()

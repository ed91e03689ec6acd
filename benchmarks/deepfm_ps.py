"""DeepFM on data like Criteo's: `model.fit`, PyTorch, tables in the worker process, and parameter servers.

    python benchmarks/deepfm_ps.py [--batch 512 4096] [--dim 8 16] [--optimizer adam sgd adagrad ftrl] [--seconds 5]
        [--mode asynchronous] [--torch-python PATH] [--jit_compile true]

13 numbers and 26 categorical columns of 100,000 values each, Zipf-distributed. For each batch size, length of rows and
optimizer, these train in turn, a block of steps at a time, in one run: `model.fit`, PyTorch with sparse gradients (see
`deepfm_torch.py`; in a process of its own, by the interpreter that `--torch-python` names, where torch is installed),
tables, tables whose rows are bfloat16 (where `--ways` names it), one server and one worker, two servers and two workers
(processes of their own, which share the block). A line gives the records per second of each (the median of the blocks,
and the slowest and fastest block) and the ratios that matter. Whoever does not have its turn waits for it without using
the processor. `--processor` goes by this process's processor time, which other work on the machine disturbs less.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from elasticdl_nb.runtime.imports import only_what_computes

with only_what_computes():  # as workers do, or collections of garbage take up to a quarter of a second each
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


def with_optimizer(model: LoadedModel, name: str) -> LoadedModel:
    """Let a model use an optimizer with the rate that `deepfm_torch.py` gives it."""
    make = {
        "adam": lambda: keras.optimizers.Adam(0.001),
        "sgd": lambda: keras.optimizers.SGD(0.01),
        "adagrad": lambda: keras.optimizers.Adagrad(0.01),
        "ftrl": lambda: keras.optimizers.Ftrl(0.01),
    }[name]
    model.make_optimizer = make  # type: ignore[method-assign]
    return model


def definition(dim: int) -> ModelDefinition:
    params = {"vocabulary_size": VOCABULARY, "embedding_dim": dim}
    return ModelDefinition(zoo=elasticdl_nb.model_zoo.__path__[0], model_def="deepfm.deepfm", params=params)


def with_fit(dim: int, optimizer: str) -> Callable[[list[Batch]], object]:
    model = with_optimizer(load(definition(dim)), optimizer)
    model.build(FORM[0])
    model.model.compile(model.make_optimizer(), keras.losses.BinaryCrossentropy(from_logits=True))

    def train(batches: list[Batch]) -> None:
        rows = [tf.nest.map_structure(lambda *parts: tf.concat(parts, 0), *batches)]
        size = len(batches[0][1])
        model.model.fit(*rows[0], batch_size=size, shuffle=False, verbose=0)

    return train


def served(dim: int, optimizer: str, row_dtype: str = "float32") -> tuple[LoadedModel, ServedLayers]:
    layers = ServedLayers(options={"embedding": {"row_dtype": row_dtype}})
    with serving(layers):
        model = with_optimizer(load(definition(dim)), optimizer)
        model.build(FORM[0])
    return model, layers


def with_tables(dim: int, optimizer: str, jit: str, row_dtype: str = "float32") -> Callable[[list[Batch]], object]:
    model, layers = served(dim, optimizer, row_dtype)
    spec = JobSpec(kind="train", model_def="deepfm", jit_compile=jit)
    trainer = TableTrainer(spec, model, Silent(), FORM, lambda *_: None, layers)  # type: ignore[arg-type]
    return lambda batches: trainer.train(Task(), iter(batches))


def with_servers(
    dim: int, optimizer: str, jit: str, addresses: list[str], use_async: bool, number: int = 0
) -> Callable[[list[Batch]], object]:
    model, layers = served(dim, optimizer)
    spec = JobSpec(
        kind="train", model_def="deepfm", use_async=use_async, jit_compile=jit,
        distribution_strategy="ParameterServerStrategy",
    )  # fmt: skip
    trainer = ServerTrainer(spec, model, Silent(), FORM, lambda *_: None, layers)  # type: ignore[arg-type]
    trainer.connect(ParameterClient(addresses, "benchmark", source=str(os.getpid()), synchronous=not use_async), 0)
    # Servers take each record of a task once, so every block is another task.
    tasks = itertools.count(number, 2)
    return lambda batches: trainer.train(Task(index=next(tasks)), iter(batches))


def train_on_demand(options: argparse.Namespace) -> None:
    """Be one of several workers: train on a part of the block for every line on standard input."""
    number, count, batch = options.worker
    asynchronous = options.mode == "asynchronous"
    train = with_servers(
        options.dim[0], options.optimizer[0], options.jit_compile, options.servers, asynchronous, number
    )
    batches = make_batches(count, batch)
    for _ in sys.stdin:
        train(batches)
        print("done", flush=True)


def with_processes(
    commands: list[list[str]], greeting: bool = False
) -> tuple[list[subprocess.Popen[str]], Callable[[list[Batch]], object], str]:
    """Start processes that train on a block each for every line; return them, what lets them do it, and a greeting."""
    processes = [subprocess.Popen(one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for one in commands]

    def answer(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        if not line:
            raise SystemExit("a process that trains has died")
        return line

    def train(_: list[Batch]) -> None:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            answer(process)

    return processes, train, answer(processes[0]) if greeting else ""


def worker_commands(workers: int, count: int, batch: int, addresses: list[str], given: list[str]) -> list[list[str]]:
    """The commands of workers that share blocks of `count` batches."""
    share = [str(count // workers), str(batch), *given, "--servers", *addresses]
    return [[sys.executable, __file__, "--worker", str(number), *share] for number in range(workers)]


def torch_command(python: str, batch: int, dim: int, optimizer: str, count: int, device: str) -> list[str]:
    """The command of the PyTorch side; empty where torch is not installed."""
    installed = subprocess.run([python, "-c", "import torch"], stderr=subprocess.DEVNULL, check=False)
    if installed.returncode or optimizer == "ftrl":  # which torch does not have
        return []
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "deepfm_torch.py")
    values = {"--batch": batch, "--dim": dim, "--optimizer": optimizer, "--count": count, "--device": device}
    return [python, script, *(str(part) for option in values.items() for part in option)]


def start_server(number: int, count: int) -> tuple[subprocess.Popen[str], str]:
    """Return a server's process and address."""
    command = [sys.executable, "-c", SERVER, str(number), str(count)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().strip()


def measure(batch: int, dim: int, optimizer: str, options: argparse.Namespace) -> None:
    keras.backend.clear_session()
    ways: dict[str, Callable[[list[Batch]], object]] = {}
    servers = [start_server(0, 1), start_server(0, 2), start_server(1, 2)]
    processes, addresses = [process for process, _ in servers], [address for _, address in servers]
    count = max(10, 16384 // batch) // 2 * 2
    jit, in_turn = options.jit_compile, options.ways
    try:
        if "fit" in in_turn:
            ways["model.fit"] = with_fit(dim, optimizer)
        if "torch" in in_turn and (
            command := torch_command(options.torch_python, batch, dim, optimizer, count, options.device)
        ):
            started, ways["PyTorch"], version = with_processes([command], greeting=True)
            processes += started
            print(f"PyTorch {version}")
        ways["tables"] = with_tables(dim, optimizer, jit)
        if "bfloat16" in in_turn:
            ways["bfloat16"] = with_tables(dim, optimizer, jit, "bfloat16")
        if "servers" in in_turn:
            ways["1 + 1"] = with_servers(dim, optimizer, jit, addresses[:1], options.mode == "asynchronous")
            given = ["--dim", str(dim), "--optimizer", optimizer, "--mode", options.mode, "--jit_compile", jit]
            started, ways["2 + 2"], _ = with_processes(worker_commands(2, count, batch, addresses[1:], given))
            processes += started
        blocks = make_batches(count, batch)
        for train in [*ways.values()] * 2:
            train(blocks)
        rates: dict[str, list[float]] = {name: [] for name in ways}
        end = time.perf_counter() + len(ways) * options.seconds
        clock = time.process_time if options.processor else time.perf_counter
        while time.perf_counter() < end or len(rates["tables"]) < 3:
            for name, train in ways.items():
                start = clock()
                train(blocks)
                rates[name].append(batch * count / (clock() - start))
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for address in addresses:
            leave(address)
    report(f"batch {batch:5} dim {dim:3} {optimizer:4}", rates)


def report(what: str, rates: dict[str, list[float]]) -> None:
    """Print a line with the median, slowest and fastest block of each way, and the ratios of the medians."""
    rate = {name: float(np.median(values)) for name, values in rates.items()}
    columns = [f"{name} {rate[name]:9,.0f}/s ({min(r):,.0f} to {max(r):,.0f})" for name, r in rates.items()]
    pairs = [("tables", "model.fit"), ("tables", "PyTorch"), ("bfloat16", "tables")]
    pairs += [("1 + 1", "tables"), ("2 + 2", "tables")]
    ratios = [f"{one} / {other} {rate[one] / rate[other]:.2f}" for one, other in pairs if {one, other} <= {*rate}]
    print(f"{what}   {'   '.join(columns)}   {'   '.join(ratios)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--dim", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--optimizer", nargs="+", choices=["adam", "sgd", "adagrad", "ftrl"], default=["adam"])
    parser.add_argument("--seconds", type=float, default=5.0, help="time for each figure")
    parser.add_argument("--mode", choices=["asynchronous", "synchronous"], default="asynchronous")
    parser.add_argument("--torch-python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--device", default="cpu", help="where PyTorch computes")
    parser.add_argument("--jit_compile", choices=["auto", "true", "false"], default="true")
    others = ["fit", "torch", "servers", "bfloat16"]
    parser.add_argument("--ways", nargs="+", choices=others, default=others[:3], help="what trains beside tables")
    parser.add_argument(
        "--processor", action="store_true", help="this process's processor time; not for servers, torch"
    )
    parser.add_argument("--worker", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--servers", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    keep_freed_buffers()
    if options.worker:
        train_on_demand(options)
        return
    for batch, dim, optimizer in itertools.product(options.batch, options.dim, options.optimizer):
        measure(batch, dim, optimizer, options)


if __name__ == "__main__":
    main()

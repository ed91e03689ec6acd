"""How far one master and a number of parameter servers go: 1 to 64 workers, 1 to 16 servers.

    python benchmarks/scale.py [--seconds 4] [--pause 0.1] [--ways master servers]

The master is a real one over real gRPC, with simulated workers (see `task_queue.py`). For each number of workers, a
line gives its processor time per task and the tasks per second when workers do nothing with a task (where it
saturates), its processor time per task and per worker and second when each worker takes `--pause` seconds over a task,
and the bytes of the job's whole status.

Servers are real processes, and two clients make DeepFM's requests with the real protocol, without a model: Adam on
26 x 512 Zipf-distributed ids of a table with rows of 16, and a lookup of those of the next step. A line gives rows per
second, and the servers' processor time per row. With more processes than cores, only the processor times say something.

The last lines compute from these figures how large a cluster could be in which nothing else is the limit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection

import numpy as np
import psutil
import task_queue
import uvloop
from data_plane import TOKEN, Peer

from elasticdl_nb.runtime.parameters.api import Push, StepRequest
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.ps.client import ParameterClient
from elasticdl_nb.runtime.ps.server import ParameterServer

WORKERS, SERVERS, CLIENTS = (1, 4, 16, 64), (1, 2, 4, 8, 16), 2
ADAM = {
    "class_name": "Adam",
    "config": {"learning_rate": 0.001, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False},
}
BATCH, COLUMNS, DIM, VOCABULARY = 512, 26, 16, 100_000


# ------------------------------------------------------------ the master


def measure_master(workers: int, seconds: float, pause: float) -> float:
    """Print a line; return the microseconds of processor time that a task costs at a pace that workers can keep."""
    tasks = int(4000 * seconds) // workers * workers
    full = uvloop.run(task_queue.serve(workers, tasks, min(workers, task_queue.CLIENTS)))
    tasks = max(workers, int(workers * seconds / pause))
    calm = uvloop.run(task_queue.serve(workers, tasks, min(workers, task_queue.CLIENTS), pause))
    print(
        f"{workers:3} workers   busy: {full.busy / full.tasks * 1e6:5.0f} us a task, {full.rate:7,.0f} tasks/s   "
        f"a task in {pause} s: {calm.busy / calm.tasks * 1e6:5.0f} us a task, "
        f"{calm.busy / calm.seconds / workers * 1e6:6.0f} us a worker and second   status: {calm.status_bytes:,} bytes",
        flush=True,
    )
    return full.busy / full.tasks * 1e6


# ------------------------------------------------------------ servers


def serve(number: int, servers: int, pipe: Connection) -> None:
    """Be one of the servers."""
    server = ParameterServer(StoreService(server=number, servers=servers), TOKEN)
    pipe.send(server.address)
    server.run()


def ask(addresses: list[str], number: int, pipe: Connection) -> None:
    """Be a client: for every number of seconds received, make steps that long; answer with the rows updated."""
    random = np.random.default_rng(number)
    batches = [np.unique(random.zipf(1.2, BATCH * COLUMNS) % (VOCABULARY * COLUMNS)) for _ in range(16)]
    gradients = [random.normal(size=(len(ids), DIM)).astype(np.float32) for ids in batches]
    client = ParameterClient(addresses, TOKEN, source=str(number))
    client.initialize(ADAM, {}, [TableSpec("t", DIM)])
    step = 0
    while seconds := pipe.recv():
        rows, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            now, following = step % len(batches), (step + 1) % len(batches)
            client.step(StepRequest(Push(rows={"t": (batches[now], gradients[now])}), {"t": batches[following]}))
            rows += len(batches[now])
            step += 1
        pipe.send(rows)
    client.close()


@dataclass(frozen=True)
class Rows:
    """Rows updated and looked up per second, and the servers' processor time for each, in microseconds."""

    rate: float
    cost: float


def measure_servers(count: int, seconds: float) -> Rows:
    """Let clients ask that many servers, and print a line."""
    peers = [Peer(partial(serve, number, count)) for number in range(count)]
    processes = [psutil.Process(peer.pid) for peer in peers]
    context = multiprocessing.get_context("spawn")
    pipes, clients = [], []
    try:
        for number in range(CLIENTS):
            mine, theirs = context.Pipe()
            client = context.Process(target=ask, args=([str(peer.address) for peer in peers], number, theirs))
            client.start()
            clients.append(client)
            pipes.append(mine)
        together(pipes, 0.5)  # kernels are loaded, rows exist
        before = [sum(process.cpu_times()[:2]) for process in processes]
        rows = together(pipes, seconds)
        busy = sum(sum(process.cpu_times()[:2]) for process in processes) - sum(before)
    finally:
        for pipe, client in zip(pipes, clients, strict=True):
            pipe.send(0)
            client.join()
        for peer in peers:
            peer.end()
    found = Rows(rows / seconds, busy / rows * 1e6)
    print(f"{count:3} servers   {found.rate:9,.0f} rows/s   {found.cost:5.2f} us a row", flush=True)
    return found


def together(pipes: list[Connection], seconds: float) -> int:
    """Let all clients make steps at the same time; return the rows."""
    for pipe in pipes:
        pipe.send(seconds)
    return sum(pipe.recv() for pipe in pipes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4.0, help="time for each figure")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds that a worker takes over a task")
    parser.add_argument("--ways", nargs="+", choices=("master", "servers"), default=["master", "servers"])
    options = parser.parse_args()
    if "master" in options.ways:
        costs = [measure_master(workers, options.seconds, options.pause) for workers in WORKERS]
        print(f"so one core of the master hands out {1e6 / costs[-1]:,.0f} tasks/s: enough for "
              f"{1e6 / costs[-1]:,.0f} workers that take a second over a task")  # fmt: skip
    if "servers" in options.ways:
        cost = {count: measure_servers(count, options.seconds).cost for count in SERVERS}
        for count, micros in cost.items():
            records = count * 1e6 / micros / COLUMNS
            print(f"so {count} servers with a core each feed {records:,.0f} records/s of {COLUMNS} distinct ids")


if __name__ == "__main__":
    main()

"""Milliseconds for the sum of an array over several processes: ours, torch's gloo, TensorFlow's collectives.

    python benchmarks/allreduce.py [--megabytes 4 25 100] [--tensors 300] [--processes 2 4 8] [--repeats 3]
        [--torch-python /path/to/python]

Gloo needs torch, in this Python or in the one that `--torch-python` names; it is left out if there is none. Each figure
is the best of several repeats, which take turns, and each repeat is the median of several rounds, which all processes
begin together. Ratios are relative to ours.

With `--tensors`, also so many tensors of 1 to 100 KB: copied into buckets as workers do, added up and copied back, and
the same with gloo and a single bucket; then tensor by tensor, which gloo may do all at once. 0 leaves this out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

ROUNDS = {4: 30, 25: 10, 100: 5}
FEW, MOST = 1_000 // 4, 100_000 // 4
"""Number of values in small tensors."""
GLOO = """
import json, sys, time
import torch, torch.distributed as dist
rank, world, port, length, rounds, threads = map(int, sys.argv[1:])
torch.set_num_threads(threads)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
values, times = torch.ones(length), []
for _ in range(rounds + 2):
    values.fill_(1.0)
    dist.barrier()
    began = time.perf_counter()
    dist.all_reduce(values)
    times.append(time.perf_counter() - began)
    assert values[0] == world
if rank == 0:
    print(json.dumps(sorted(times[2:])[rounds // 2]))
dist.barrier()
dist.destroy_process_group()
"""


SMALL = """
import json, sys, time
import torch, torch.distributed as dist
rank, world, port, rounds, together = map(int, sys.argv[1:6])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
tensors, times = [torch.ones(int(one)) for one in sys.argv[6:]], []
for _ in range(rounds + 2):
    for tensor in tensors:
        tensor.fill_(1.0)
    dist.barrier()
    began = time.perf_counter()
    if together:
        flat = torch.cat(tensors)
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, flat.split([len(one) for one in tensors])):
            tensor.copy_(part)
    else:
        for work in [dist.all_reduce(tensor, async_op=True) for tensor in tensors]:
            work.wait()
    times.append(time.perf_counter() - began)
    assert all(tensor[0] == world for tensor in tensors)
if rank == 0:
    print(json.dumps(sorted(times[2:])[rounds // 2]))
dist.barrier()
dist.destroy_process_group()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def median(call: Callable[[], None], prepare: Callable[[], None], rounds: int) -> float:
    times = []
    for _ in range(rounds + 2):  # the first ones touch memory for the first time
        prepare()
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return sorted(times[2:])[rounds // 2]


def lengths_of(count: int) -> list[int]:
    """Return the numbers of values of so many small tensors, always the same ones."""
    return [int(one) for one in np.random.default_rng(0).integers(FEW, MOST, count)]


# ------------------------------------------------------------------ ours


def small_process(rank: int, world: int, lengths: list[int], rounds: int, together: bool, ends: Any) -> None:
    from elasticdl_nb.runtime.allreduce.buckets import groups, limit_of
    from elasticdl_nb.runtime.allreduce.connect import Listener
    from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers

    keep_freed_buffers()
    listener = Listener("benchmark")
    ends.send(listener.address)
    collective = listener.connect(1, rank, ends.recv())
    tensors = [np.ones(length, np.float32) for length in lengths]
    sizes = [tensor.nbytes for tensor in tensors]
    buckets = groups(sizes, ["float32"] * len(sizes), limit_of(sum(sizes)))

    def add() -> None:
        if not together:
            for tensor in tensors:
                collective.allreduce(tensor)
            return
        for bucket in buckets:
            flat = np.concatenate([tensors[place] for place in bucket])
            collective.allreduce(flat)
            start = 0
            for place in bucket:
                tensors[place][:] = flat[start : start + lengths[place]]
                start += lengths[place]

    def prepare() -> None:
        for tensor in tensors:
            tensor.fill(1)
        collective.barrier()

    seconds = median(add, prepare, rounds)
    assert all(tensor[0] == tensor[-1] == world for tensor in tensors)
    collective.barrier()
    ends.send(seconds)
    collective.close()


def ring_process(rank: int, world: int, length: int, rounds: int, compression: str, ends: Any) -> None:
    from elasticdl_nb.runtime.allreduce.connect import Listener
    from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers

    keep_freed_buffers()
    listener = Listener("benchmark")
    ends.send(listener.address)
    collective = listener.connect(1, rank, ends.recv(), compression=compression)
    values = np.ones(length, np.float32)

    def prepare() -> None:
        values[:] = 1
        collective.barrier()

    seconds = median(lambda: collective.allreduce(values), prepare, rounds)
    assert values[0] == values[-1] == world
    collective.barrier()
    ends.send(seconds)
    collective.close()


def ours(world: int, length: int, rounds: int, compression: str = "none") -> float:
    return in_ring(ring_process, world, length, rounds, compression)


def in_ring(work: Callable[..., None], world: int, *given: Any) -> float:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(world)]
    processes = [context.Process(target=work, args=(rank, world, *given, pipes[rank][1])) for rank in range(world)]
    for process in processes:
        process.start()
    addresses = [pipe[0].recv() for pipe in pipes]
    for pipe in pipes:
        pipe[0].send(addresses)
    seconds = float(pipes[0][0].recv())
    for process in processes:
        process.join()
    return seconds


# ------------------------------------------------------------------ the alternatives


def gloo(python: str, world: int, length: int, rounds: int) -> float:
    return in_torch(python, GLOO, world, [length, rounds, 1])


def in_torch(python: str, program: str, world: int, given: list[int]) -> float:
    arguments = [str(one) for one in (world, free_port(), *given)]
    processes = [
        subprocess.Popen(
            [python, "-c", program, str(rank), *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        for rank in range(world)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return float(json.loads(outputs[0]))


def tensorflow_process(rank: int, world: int, length: int, rounds: int, ports: list[int], ends: Any) -> None:
    import os

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    addresses = [f"127.0.0.1:{port}" for port in ports]
    os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": rank}})
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    values = tf.ones([length])

    @tf.function
    def add(values: Any) -> Any:
        def in_replica() -> Any:
            placed = tf.identity(values)  # on the replica's device, as gradients are
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, placed)

        return strategy.run(in_replica)

    def call() -> None:
        assert strategy.experimental_local_results(add(values))[0][0].numpy() == world

    ends.send(median(call, call, rounds))
    call()


def tensorflow(world: int, length: int, rounds: int) -> float:
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(world)]
    ports = [free_port() for _ in range(world)]
    processes = [
        context.Process(target=tensorflow_process, args=(rank, world, length, rounds, ports, pipes[rank][1]))
        for rank in range(world)
    ]
    for process, (_, end) in zip(processes, pipes, strict=True):
        process.start()
        end.close()  # so that its death is noticed
    seconds = max(float(pipe[0].recv()) for pipe in pipes)
    for process in processes:  # they do not leave their cluster by themselves
        process.join(5)
        process.kill()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, nargs="+", default=[4, 25, 100])
    parser.add_argument("--tensors", type=int, default=300)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--repeats", type=int, default=3)
    here = sys.executable if importlib.util.find_spec("torch") else ""
    parser.add_argument("--torch-python", "--gloo-python", default=here, help="a Python that has torch")
    parser.add_argument("--no-tensorflow", action="store_true")
    given = parser.parse_args()
    for world in given.processes:
        for size in given.megabytes:
            length, rounds = size * 1_000_000 // 4, ROUNDS.get(size, 10)
            ways = {"ours": lambda w=world, n=length, r=rounds: ours(w, n, r)}
            ways["bfloat16"] = lambda w=world, n=length, r=rounds: ours(w, n, r, "bfloat16")
            if given.torch_python:
                ways["gloo"] = lambda w=world, n=length, r=rounds: gloo(given.torch_python, w, n, r)
            if not given.no_tensorflow:
                ways["TensorFlow"] = lambda w=world, n=length, r=rounds: tensorflow(w, n, r)
            compare(f"{world} processes, {size:3} MB", ways, given.repeats)
        for together in (True, False) if given.tensors else ():
            lengths, rounds = lengths_of(given.tensors), 10
            ways = {"ours": partial(in_ring, small_process, world, lengths, rounds, together)}
            if given.torch_python:
                ways["gloo"] = partial(in_torch, given.torch_python, SMALL, world, [rounds, int(together), *lengths])
            how = "in buckets" if together else "one by one"
            compare(f"{world} processes, {given.tensors} tensors {how}", ways, given.repeats)


def compare(what: str, ways: dict[str, Callable[[], float]], repeats: int) -> None:
    """Let all ways take turns, and print the best of each."""
    turns = [{name: way() for name, way in ways.items()} for _ in range(repeats)]
    best = {name: min(turn[name] for turn in turns) for name in ways}
    line = f"{what}:"
    for name, seconds in best.items():
        line += f"   {name} {seconds * 1e3:8.2f} ms ({seconds / best['ours']:.2f}x)"
    print(line, flush=True)


if __name__ == "__main__":
    main()

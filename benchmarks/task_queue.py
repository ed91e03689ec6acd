"""How fast the master hands out tasks: a real master over real gRPC, and simulated workers that do nothing with them.

It is compared with the same exchange by one unary call per task and one per result, as in ElasticDL. Workers share the
cores with the master. So those of both sides speak gRPC without its client, which would cost as much as the master.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import uvloop
from bare_grpc import Connection, connect

from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.process import Master
from elasticdl_nb.runtime.platform.base import Exited, InstanceId
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import metadata
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

CLIENTS = 2
CALLS_PER_CONNECTION = 32
"""As many as the master allows: with few connections, the exchange takes the least processor time on both sides."""


class NoProcesses:
    """A platform whose instances are simulated by the benchmark's client processes."""

    def __init__(self) -> None:
        self.exited: asyncio.Queue[Exited] = asyncio.Queue()

    async def start(self, instance: InstanceId, command: object, envs: object) -> None:
        pass

    async def kill(self, instance: InstanceId) -> None:
        await self.exited.put(Exited(instance, -9))

    async def events(self) -> AsyncIterator[Exited]:
        while True:
            yield await self.exited.get()

    def keep_ready(self, module: str, envs: dict[str, str], known: str) -> None:
        pass

    async def adopt(self) -> list[InstanceId]:
        return []

    async def close(self) -> None:
        pass


def connections_of(calls: int) -> int:
    """How many connections of one client process carry that many calls."""
    return -(-calls // CALLS_PER_CONNECTION)


@dataclass(frozen=True)
class Dispatch:
    """What handing out tasks took: seconds of the clock, of the master's and workers' processors, and of waiting."""

    connections: int
    tasks: int
    seconds: float
    busy: float
    workers_busy: float
    waits: list[float]
    status_bytes: int

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds

    def wait(self, share: float) -> float:
        """The seconds from a result to the next task that this share of all tasks took at most."""
        return self.waits[int(len(self.waits) * share)]


async def serve(workers: int, tasks: int, clients_count: int = CLIENTS, pause: float = 0.0) -> Dispatch:
    """Run a prediction job with one record per task; each worker waits `pause` seconds over a task."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["ELASTICDL_HOME"] = folder
        data = Path(folder) / "data.csv"
        data.write_text("x\n" + "1\n" * tasks)
        spec = JobSpec.create(
            "predict", data=str(data), trained_model="none", output="none", num_workers=workers, minibatch_size=1,
            num_minibatches_per_task=1, job_name="bench",
        )  # fmt: skip
        job = JobFolder.create(spec)
        platform = NoProcesses()
        master = Master(job, platform, supervised=False)
        running = asyncio.create_task(master.run())
        while job.master() is None:
            await asyncio.sleep(0.01)
        arguments = [sys.executable, __file__, "--pause", str(pause), "--client", job.master()["address"], job.token()]
        share = workers // clients_count
        clients = [
            subprocess.Popen(
                [*arguments, str(number * share), str(share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for number in range(clients_count)
        ]
        for client in clients:  # all workers have joined
            await asyncio.to_thread(client.stdout.readline)
        before = time.process_time()
        for client in clients:
            client.stdin.close()
        results = [json.loads(await asyncio.to_thread(client.stdout.read)) for client in clients]
        busy = time.process_time() - before
        size = master.update(Mark())[0].status.ByteSize()
        for index in range(workers):
            await platform.exited.put(Exited(InstanceId("worker", index, "0"), 0))
        await running
        for client in clients:
            client.wait()
        return Dispatch(
            clients_count * connections_of(share),
            sum(result["tasks"] for result in results),
            max(result["last"] for result in results) - min(result["first"] for result in results),
            busy,
            sum(result["busy"] for result in results),
            sorted(wait for result in results for wait in result["waits"]),
            size,
        )


class Worker:
    """A simulated worker: it asks for a task, and reports each as done after `pause` seconds, until it is dismissed."""

    def __init__(self, connection: Connection, number: int, pause: float) -> None:
        self._connection, self._pause = connection, pause
        self._loop = asyncio.get_running_loop()
        self.joined, self.left = self._loop.create_future(), self._loop.create_future()
        self.handed_out: list[float] = []
        self.waits: list[float] = []
        self.tasks = 0
        self._sequence = itertools.count(1)
        self._asked = 0.0
        self._dismissed = False
        self._call = connection.call(self._received, self._ended)
        self._send(pb.WorkerMessage(hello=pb.Hello(worker=number, incarnation="0", pid=1)))

    def ask(self) -> None:
        """Ask for the first task."""
        self._asked = time.time()
        self._send(pb.WorkerMessage(sequence=next(self._sequence), want=pb.Want(tasks=1)))

    def _send(self, message: pb.WorkerMessage) -> None:
        self._connection.send(self._call, message.SerializeToString())

    def _received(self, data: bytes) -> None:
        message = pb.MasterMessage.FromString(data)
        body = message.WhichOneof("body")
        if body == "task":
            now = time.time()
            self.handed_out.append(now)
            self.waits.append(now - self._asked)
            self.tasks += message.task.kind == pb.PREDICT
            if self._pause:
                self._loop.call_later(self._pause, self._done, message.task)
            else:
                self._done(message.task)
        elif body == "welcome":
            self.joined.set_result(None)
        elif body == "leave":
            self._dismissed = True
            self._connection.end(self._call)

    def _done(self, task: pb.Task) -> None:
        self._asked = time.time()
        done = pb.TaskDone(id=task.id, attempt=task.attempt, records=1)
        self._send(pb.WorkerMessage(sequence=next(self._sequence), task_done=done))

    def _ended(self) -> None:
        if self._dismissed:
            self.left.set_result(None)
        else:
            self.left.set_exception(ConnectionError("the master has ended a worker's call"))


async def play(address: str, token: str, first: int, count: int, pause: float) -> None:
    """Simulate `count` workers until the master dismisses them; print the measurements as JSON."""
    gc.disable()  # workers should cost as little as possible, as they share the machine with the master
    connections = await connect(
        address, "/elasticdl.Master/Work", metadata(token), connections=connections_of(count)
    )  # fmt: skip
    workers = [Worker(connections[number % len(connections)], first + number, pause) for number in range(count)]
    await asyncio.gather(*(worker.joined for worker in workers))
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    before = time.process_time()
    for worker in workers:
        worker.ask()
    await asyncio.gather(*(worker.left for worker in workers))
    busy = time.process_time() - before
    for connection in connections:
        connection.close()
    times = sorted(itertools.chain.from_iterable(worker.handed_out for worker in workers))
    print(json.dumps({
        "tasks": sum(worker.tasks for worker in workers), "first": times[0], "last": times[-1], "busy": busy,
        "waits": [wait for worker in workers for wait in worker.waits],
    }))  # fmt: skip


async def unary(workers: int, seconds: float) -> float:
    """Return how many tasks per second bare unary calls between processes could hand out: that method's bound."""
    server = grpc.aio.server()

    async def answer(request: bytes, context: object) -> bytes:
        return request

    handlers = {"Task": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Bench", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    arguments = [sys.executable, __file__, "--unary-client", str(port), str(workers // CLIENTS), str(seconds)]
    clients = [subprocess.Popen(arguments, stdout=subprocess.PIPE) for _ in range(CLIENTS)]
    calls = sum([int((await asyncio.to_thread(client.communicate))[0]) for client in clients])
    await server.stop(None)
    # A task takes two calls: one to request it and one to report its result.
    rate = calls / seconds / 2
    print(f"unary calls, nothing behind them: {rate:,.0f} tasks/s")
    return rate


async def call_unary(port: int, workers: int, seconds: float) -> None:
    gc.disable()
    connections = await connect(f"127.0.0.1:{port}", "/Bench/Task", connections=connections_of(workers))
    end = time.time() + seconds
    callers = [UnaryCaller(connections[number % len(connections)], end) for number in range(workers)]
    await asyncio.gather(*(caller.over for caller in callers))
    for connection in connections:
        connection.close()
    print(sum(caller.calls for caller in callers))


class UnaryCaller:
    """It makes one call after another, until the time is over."""

    def __init__(self, connection: Connection, end: float) -> None:
        self._connection, self._end = connection, end
        self.over = asyncio.get_running_loop().create_future()
        self.calls = 0
        self._begin()

    def _begin(self) -> None:
        number = self._connection.call(self._received, self._ended)
        self._connection.send(number, b"x" * 40, last=True)

    def _received(self, answer: bytes) -> None:
        self.calls += 1

    def _ended(self) -> None:
        if time.time() < self._end:
            self._begin()
        else:
            self.over.set_result(None)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--client", nargs=4)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--unary-client", nargs=3)
    options = parser.parse_args()
    if options.client:
        address, token, first, count = options.client
        await play(address, token, int(first), int(count), options.pause)
    elif options.unary_client:
        port, workers, seconds = options.unary_client
        await call_unary(int(port), int(workers), float(seconds))
    else:
        ours = await serve(options.workers, options.tasks)
        print(f"streams: {options.workers} workers on {ours.connections} connections, {ours.tasks} tasks in "
              f"{ours.seconds:.1f} s: {ours.rate:,.0f} tasks/s")  # fmt: skip
        print(f"  processor time of the master: {ours.busy / ours.tasks * 1e6:.0f} us a task; "
              f"of the workers: {ours.workers_busy / ours.tasks * 1e6:.0f} us")  # fmt: skip
        print(f"  from result to next task: median {ours.wait(0.5) * 1e3:.0f} ms, "
              f"99th percentile {ours.wait(0.99) * 1e3:.0f} ms")  # fmt: skip
        theirs = await unary(options.workers, 5.0)
        print(f"ratio: {ours.rate / theirs:.1f}")


if __name__ == "__main__":
    uvloop.run(main())

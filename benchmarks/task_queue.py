"""How fast the master hands out tasks: a real master over real gRPC, and simulated workers that do nothing with them.

It is compared with the same exchange by one unary call per task and one per result, as in ElasticDL.
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

from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.process import Master
from elasticdl_nb.runtime.platform.base import Exited, InstanceId
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc
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


def open_channels(address: str, calls: int) -> list[grpc.aio.Channel]:
    """Open the connections for that many calls."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    return [grpc.aio.insecure_channel(address, options=options) for _ in range(connections_of(calls))]


@dataclass(frozen=True)
class Dispatch:
    """What handing out tasks took: seconds of the clock and of the master's processor, and of workers' waiting."""

    connections: int
    tasks: int
    seconds: float
    busy: float
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
            sorted(wait for result in results for wait in result["waits"]),
            size,
        )


async def play(address: str, token: str, first: int, count: int, pause: float) -> None:
    """Simulate `count` workers until the master dismisses them; print the measurements as JSON."""
    gc.disable()  # workers should cost as little as possible, as they share the machine with the master
    channels = open_channels(address, count)
    started, waits, tasks = [], [], 0
    ended = 0.0
    everyone = asyncio.Barrier(count + 1)

    async def worker(number: int) -> None:
        nonlocal tasks, ended
        sequence = itertools.count(1)
        call = master_pb2_grpc.MasterStub(channels[number % len(channels)]).Work(metadata=metadata(token))
        await call.write(pb.WorkerMessage(hello=pb.Hello(worker=number, incarnation="0", pid=1)))
        await call.read()
        await everyone.wait()
        await call.write(pb.WorkerMessage(sequence=next(sequence), want=pb.Want(tasks=1)))
        asked = time.perf_counter()
        while (message := await call.read()) is not grpc.aio.EOF:
            if message.WhichOneof("body") == "leave":
                break
            if message.WhichOneof("body") != "task":
                continue
            task = message.task
            if not started:
                started.append(time.time())
            waits.append(time.perf_counter() - asked)
            tasks += task.kind == pb.PREDICT
            ended = time.time()
            if pause:
                await asyncio.sleep(pause)
            asked = time.perf_counter()
            done = pb.TaskDone(id=task.id, attempt=task.attempt, records=1)
            await call.write(pb.WorkerMessage(sequence=next(sequence), task_done=done))
        await call.done_writing()

    async def start_together() -> None:
        while everyone.n_waiting < count:
            await asyncio.sleep(0.01)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await everyone.wait()

    await asyncio.gather(start_together(), *(worker(number) for number in range(first, first + count)))
    print(json.dumps({"tasks": tasks, "first": started[0], "last": ended, "waits": waits}))


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
    channels = open_channels(f"127.0.0.1:{port}", workers)
    end = time.time() + seconds
    calls = 0

    async def worker(number: int) -> None:
        nonlocal calls
        method = channels[number % len(channels)].unary_unary("/Bench/Task")
        while time.time() < end:
            await method(b"x" * 40)
            calls += 1

    await asyncio.gather(*(worker(number) for number in range(workers)))
    print(calls)


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
        print(f"  processor time of the master: {ours.busy / ours.tasks * 1e6:.0f} us a task")
        print(f"  from result to next task: median {ours.wait(0.5) * 1e3:.0f} ms, "
              f"99th percentile {ours.wait(0.99) * 1e3:.0f} ms")  # fmt: skip
        theirs = await unary(options.workers, 5.0)
        print(f"ratio: {ours.rate / theirs:.1f}")


if __name__ == "__main__":
    uvloop.run(main())

"""The master's gRPC service: turns streams into events, and passes messages on to workers and watchers."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Protocol

import grpc

from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc

WATCH_INTERVAL = 0.25
"""Minimum seconds between two updates to a watcher."""

WATCH_HEARTBEAT = 1.0
"""Seconds after which a watcher gets an update even if nothing happened."""

_END = grpc.aio.EOF  # type: ignore[attr-defined]


class Events(Protocol):
    """Receives events from the service; see `process.Master`."""

    def greeted(self, hello: pb.Hello) -> bool:
        """A process says hello; return whether it belongs to the job."""
        ...

    def told(self, key: Key, message: pb.WorkerMessage) -> None:
        """A process sends a message; `acknowledge` is called once the message is safe in the journal."""
        ...

    def cancel(self, reason: str) -> None:
        """A client wants the job to end."""
        ...

    def scale(self, workers: int) -> str:
        """A client wants this many workers; return why that is not possible, or an empty string."""
        ...

    def stop(self, reason: str) -> str:
        """A client wants the job to end with a trained model; return why it cannot, or an empty string."""
        ...

    def update(self, mark: Mark) -> tuple[pb.JobUpdate, Mark]:
        """The status for a watcher who has seen everything up to the mark."""
        ...


class MasterService(master_pb2_grpc.MasterServicer):
    """See master.proto."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._outboxes: dict[Key, _Outbox] = {}
        self._changed = asyncio.Event()
        self.waiting_watchers = 0

    def send(self, key: Key, message: pb.MasterMessage) -> None:
        """Pass a message on to a process; dropped if it is not connected."""
        outbox = self._outboxes.get(key)
        if outbox is not None:
            outbox.messages.append(message)
            outbox.wake()

    def acknowledge(self, key: Key, sequence: int) -> None:
        """Tell a process that everything up to this number is safe, as part of the next message if there is one."""
        outbox = self._outboxes.get(key)
        if outbox is not None:
            outbox.acknowledged = sequence
            outbox.wake()

    def wake_watchers(self) -> None:
        """Something has changed that watchers should see."""
        self._changed.set()

    async def Work(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.WorkerMessage], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        """Serve one worker's or parameter server's process until the stream breaks."""
        first = await context.read()
        if first is _END or first.WhichOneof("body") != "hello":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a process must say hello first")
            return
        key = (first.hello.role or "worker", first.hello.worker, first.hello.incarnation)
        outbox = self._outboxes[key] = _Outbox()
        sender = asyncio.create_task(outbox.send_all(context))
        try:
            if not self._events.greeted(first.hello):
                await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the job continues without this process")
            while (message := await context.read()) is not _END:
                self._events.told(key, message)
        finally:
            # It may have reconnected before this stream was found to be broken.
            if self._outboxes.get(key) is outbox:
                del self._outboxes[key]
            sender.cancel()

    async def WatchJob(  # noqa: N802
        self, request: pb.WatchRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[pb.JobUpdate]:
        """Send the whole status, then changes, until the job has ended."""
        self.waiting_watchers += request.waiting
        mark = Mark()
        interval = min(max(request.interval, WATCH_INTERVAL), WATCH_HEARTBEAT)
        try:
            while True:
                update, mark = self._events.update(mark)
                yield update
                if update.status.finished_at:
                    return
                await asyncio.sleep(interval)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), WATCH_HEARTBEAT - interval)
                self._changed.clear()
        finally:
            self.waiting_watchers -= request.waiting

    async def CancelJob(  # noqa: N802
        self, request: pb.CancelRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.CancelReply:
        """End the job."""
        self._events.cancel(request.reason or "on request")
        return pb.CancelReply()

    async def ScaleJob(  # noqa: N802
        self, request: pb.ScaleRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ScaleReply:
        """Continue with more or fewer workers."""
        if problem := self._events.scale(request.workers):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, problem)
        return pb.ScaleReply()

    async def StopJob(  # noqa: N802
        self, request: pb.StopRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.StopReply:
        """End a training that follows its data, with a trained model."""
        if problem := self._events.stop(request.reason):
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, problem)
        return pb.StopReply()


class _Outbox:
    """The messages to send to one process."""

    def __init__(self) -> None:
        self.messages: deque[pb.MasterMessage] = deque()
        self.acknowledged = 0
        self._sleeping: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """There is something to send."""
        if self._sleeping is not None and not self._sleeping.done():
            self._sleeping.set_result(None)

    async def send_all(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Send everything, present and future, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while self.messages or self.acknowledged:
                message = self.messages.popleft() if self.messages else pb.MasterMessage()
                # Set for each process again, as a message to several is one object; `write` serializes it at once.
                message.acknowledged, self.acknowledged = self.acknowledged, 0
                await context.write(message)
            self._sleeping = loop.create_future()
            await self._sleeping

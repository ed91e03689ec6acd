"""The workers' and parameter servers' side of the control stream, which outlives the master.

When the stream breaks, the master has died and its supervisor starts another one. The stream is then reopened, and
everything not acknowledged is sent again. If the supervisor is gone as well, this process starts another. If no master
comes back, the process ends by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator

import grpc

from elasticdl_nb.runtime.control import sizes
from elasticdl_nb.runtime.control.guarding import Guard
from elasticdl_nb.runtime.exits import MAKES_WAY
from elasticdl_nb.runtime.protocol import channels, master_pb2_grpc
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import metadata
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

RECONNECT_LIMIT = 60.0
"""Seconds without a master after which a process ends."""

SHARED_RECONNECT_LIMIT = 600.0
"""The same in a cluster, which may have to find a node for the next master and pull the image."""

ORPHAN_LIMIT = 0.5
"""The same, once the job is over, or no other master can come."""

GUARD_INTERVAL = 0.5

RETRY_INTERVAL = 0.1
SHARED_RETRY_INTERVAL = 0.5

_OPTIONS = [
    # The master's limit counts for what it gets; what it sends is trusted.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]
logger = logging.getLogger(__name__)


class MasterStream:
    """The stream of one process. `receive` gets every message but acknowledgements, in order, on a thread of its own.

    `hello` is the process's first message. `held` returns the tasks it is working on, for a master that comes back.
    Ends the process with MAKES_WAY if the master does not need it or none comes back.
    """

    def __init__(
        self, folder: JobFolder, address: str, hello: pb.Hello, receive: Callable[[pb.MasterMessage], None],
        held: Callable[[], Iterable[pb.TaskKey]] = tuple,
    ) -> None:  # fmt: skip
        self._folder, self._receive, self._held = folder, receive, held
        self._spec = folder.spec()
        self._hello = hello
        self._lock = threading.Lock()
        self._sequence = 0
        self._unacknowledged: deque[pb.WorkerMessage] = deque()
        self._outbox: queue.SimpleQueue[pb.WorkerMessage | None] | None = None
        self._all_acknowledged = threading.Event()
        self._all_acknowledged.set()
        self._leaving = False
        self._connected_at = time.monotonic()
        self._is_connected = False
        self._thread = threading.Thread(target=self._run, args=(address,), name="master-stream", daemon=True)
        self._thread.start()
        if not folder.is_shared:
            threading.Thread(target=self._guard, name="guard", daemon=True).start()

    def send(self, **body: object) -> None:
        """Send a message that arrives even if the master dies: `send(paused=pb.Paused(number=1))`.

        Raises TooLargeForMaster, and sends nothing, if the job's master would refuse it.
        """
        message = pb.WorkerMessage(**body)  # type: ignore[arg-type]
        sizes.check(next(iter(body)), message.ByteSize(), self._spec)
        with self._lock:
            self._sequence += 1
            message.sequence = self._sequence
            self._unacknowledged.append(message)
            self._all_acknowledged.clear()
            if self._outbox is not None:
                self._outbox.put(message)

    def tell(self, **body: object) -> bool:
        """Send a message that may get lost; return False if there is currently no master to send it to."""
        with self._lock:
            if self._outbox is None:
                return False
            self._outbox.put(pb.WorkerMessage(**body))  # type: ignore[arg-type]
            return True

    def settle(self, timeout: float) -> None:
        """Wait until everything sent is acknowledged, for at most `timeout` seconds."""
        self._all_acknowledged.wait(timeout)

    def close(self, timeout: float = 5.0) -> None:
        """Wait until everything sent is acknowledged, for at most `timeout` seconds, and end the stream."""
        self.settle(timeout)
        self._leaving = True
        with self._lock:
            if self._outbox is not None:
                self._outbox.put(None)
        self._thread.join(timeout)

    # ------------------------------------------------------------ the threads

    def _guard(self) -> None:
        guard = Guard(self._folder)
        while not self._leaving:
            time.sleep(GUARD_INTERVAL)
            with contextlib.suppress(OSError):  # the job's folder may be removed
                if guard.look():
                    logger.warning("the job's supervisor is gone; starting another one")

    def _run(self, address: str) -> None:
        while True:
            refused = self._converse(address)
            if self._leaving:
                return
            found = None if refused else self._find_master()
            if found is None:
                logger.error("the master %s", f"does not need this process: {refused}" if refused else "is gone")
                if not refused and not self._folder.is_alive():
                    self._folder.remove_temporary()  # as the master would have
                os._exit(MAKES_WAY)
            address = found

    def _converse(self, address: str) -> str:
        """Talk to the master at this address until the stream breaks; return why, if it refused the process."""
        outbox: queue.SimpleQueue[pb.WorkerMessage | None] = queue.SimpleQueue()
        outbox.put(pb.WorkerMessage(hello=self._greeting()))
        channel = channels.connect(address, self._folder.token(), _OPTIONS)
        try:
            stub = master_pb2_grpc.MasterStub(channel)  # type: ignore[no-untyped-call]
            for message in stub.Work(_until_none(outbox), metadata=metadata(self._folder.token())):
                if message.acknowledged:
                    self._acknowledged(message.acknowledged)
                body = message.WhichOneof("body")
                if body == "welcome":
                    self._welcomed(message.welcome, outbox)
                if body:
                    self._receive(message)
        except (grpc.RpcError, OSError) as error:
            if isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.FAILED_PRECONDITION:
                return str(error.details())
            if not self._leaving:
                logger.warning("the stream to the master broke: %s", error)
        finally:
            if self._is_connected:
                self._connected_at, self._is_connected = time.monotonic(), False
            with self._lock:
                self._outbox = None
            outbox.put(None)
            channel.close()
        return ""

    def _greeting(self) -> pb.Hello:
        in_hand = self._held()  # before taking the lock, which `held`'s owner may want while holding its own
        with self._lock:
            hello = pb.Hello()
            hello.CopyFrom(self._hello)
            hello.held.extend(in_hand)
            for message in self._unacknowledged:
                if result := result_of(message):
                    hello.held.append(result)
            return hello

    def _welcomed(self, welcome: pb.Welcome, outbox: queue.SimpleQueue[pb.WorkerMessage | None]) -> None:
        self._acknowledged(welcome.acknowledged)
        self._is_connected = True
        with self._lock:
            self._hello.again = True
            for message in self._unacknowledged:
                outbox.put(message)
            self._outbox = outbox

    def _acknowledged(self, sequence: int) -> None:
        with self._lock:
            while self._unacknowledged and self._unacknowledged[0].sequence <= sequence:
                self._unacknowledged.popleft()
            if not self._unacknowledged:
                self._all_acknowledged.set()

    def _find_master(self) -> str | None:
        """Wait for a master that listens and return its address, or None if none will come."""
        limit = SHARED_RECONNECT_LIMIT if self._folder.is_shared else RECONNECT_LIMIT
        alive_at = time.monotonic()
        while (now := time.monotonic()) < self._connected_at + limit:
            time.sleep(SHARED_RETRY_INTERVAL if self._folder.is_shared else RETRY_INTERVAL)
            if self._folder.is_alive():
                alive_at = now
            elif now > alive_at + ORPHAN_LIMIT:
                return None
            if address := self._folder.living_master():
                return address
        return None


def end_when_told(folder: JobFolder) -> None:
    """In a pod: end this process at once when its pod is asked to end, so that its work moves elsewhere sooner.

    It is the first process of the pod, to which the system delivers only those signals that it handles.
    """
    if folder.is_shared:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def result_of(message: pb.WorkerMessage) -> pb.TaskKey | None:
    """Return the task whose result a message reports, if it reports one."""
    match message.WhichOneof("body"):
        case "task_done":
            return pb.TaskKey(id=message.task_done.id, attempt=message.task_done.attempt)
        case "task_failed":
            return pb.TaskKey(id=message.task_failed.id, attempt=message.task_failed.attempt)
    return None


def _until_none(outbox: queue.SimpleQueue[pb.WorkerMessage | None]) -> Iterator[pb.WorkerMessage]:
    while (message := outbox.get()) is not None:
        yield message

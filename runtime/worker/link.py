"""The worker's side of the control stream: tasks come in, results and heartbeats go out.

Threads of its own, so that the worker is heard while TensorFlow is being imported or computes.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Iterator

import grpc

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol import master_pb2_grpc
from elasticdl_nb.runtime.protocol.auth import metadata

HEARTBEAT = 1.0
REPORT_INTERVAL = 0.25
LOST_MASTER = 75
"""Exit code of a worker whose master is gone (EX_TEMPFAIL)."""

logger = logging.getLogger(__name__)


class MasterLink:
    """The stream between this worker process and the master.

    `tasks` gives the master's tasks in order, then None when the worker shall leave. When the stream breaks, the
    process ends on the spot: the master has started another worker, or is dead itself.
    """

    def __init__(self, address: str, token: str, worker: int, incarnation: str) -> None:
        self.tasks: queue.Queue[pb.Task | None] = queue.Queue()
        self._hello = pb.Hello(worker=worker, incarnation=incarnation, pid=os.getpid())
        self._outbox: queue.SimpleQueue[pb.WorkerMessage | None] = queue.SimpleQueue()
        self._welcome: queue.SimpleQueue[pb.Welcome] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._activity = "starting"
        self._step = 0
        self._records = 0
        self._losses: list[pb.LossPoint] = []
        self._changed = threading.Event()
        self._leaving = False
        channel = grpc.insecure_channel(address, options=[("grpc.max_send_message_length", 64 << 20)])
        stub = master_pb2_grpc.MasterStub(channel)  # type: ignore[no-untyped-call]
        self._replies = stub.Work(self._messages(), metadata=metadata(token))
        self._reader = threading.Thread(target=self._read, name="master-link", daemon=True)
        self._reader.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def welcome(self) -> pb.Welcome:
        """Wait for the master's welcome."""
        return self._welcome.get()

    # ------------------------------------------------------------ what the worker says

    def send(self, **body: object) -> None:
        """Send a message, `send(want=pb.Want(tasks=2))`. What was said of progress before goes out before it."""
        if self._changed.is_set():
            self._report()
        self._outbox.put(pb.WorkerMessage(**body))  # type: ignore[arg-type]

    def note(self, level: str, text: str) -> None:
        """Say something that people should see."""
        self.send(note=pb.Note(level=level, text=text))

    def activity(self, activity: str) -> None:
        """Say what the worker does now."""
        with self._lock:
            self._activity = activity
        self._changed.set()

    def progress(self, step: int, records: int) -> None:
        """Count work: the model's step now, and records used since the last call."""
        with self._lock:
            self._step = step
            self._records += records
        self._changed.set()

    def loss(self, step: int, value: float) -> None:
        """Add a point to the loss curve."""
        with self._lock:
            self._losses.append(pb.LossPoint(step=step, loss=value, time=time.time()))
        self._changed.set()

    def close(self) -> None:
        """Send what is left and end the stream."""
        self._report()
        self._leaving = True
        self._outbox.put(None)
        self._reader.join(timeout=5.0)

    # ------------------------------------------------------------ threads

    def _messages(self) -> Iterator[pb.WorkerMessage]:
        yield pb.WorkerMessage(hello=self._hello)
        while (message := self._outbox.get()) is not None:
            yield message

    def _beat(self) -> None:
        while not self._leaving:
            self._changed.wait(HEARTBEAT)
            self._report()
            time.sleep(REPORT_INTERVAL)

    def _report(self) -> None:
        with self._lock:
            self._changed.clear()
            losses, self._losses = self._losses, []
            progress = pb.Progress(activity=self._activity, step=self._step, records=self._records, losses=losses)
            self._outbox.put(pb.WorkerMessage(progress=progress))

    def _read(self) -> None:
        try:
            for message in self._replies:
                match message.WhichOneof("body"):
                    case "welcome":
                        self._welcome.put(message.welcome)
                    case "task":
                        self.tasks.put(message.task)
                    case "leave":
                        self.tasks.put(None)
        except grpc.RpcError as error:
            if not self._leaving:
                logger.error("the master is gone or has no use for this worker: %s", error)
        if not self._leaving:
            os._exit(LOST_MASTER)

"""A worker's stream to the master: its tasks, results, progress, heartbeats and pauses.

It has threads of its own, so that the master hears from the worker while TensorFlow is being imported or computes.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from elasticdl_nb.runtime.control.masterstream import MasterStream
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.failures import shortened
from elasticdl_nb.runtime.worker.orders import RingOrders

if TYPE_CHECKING:
    from elasticdl_nb.runtime.allreduce.overlap import Exchanged
    from elasticdl_nb.runtime.parameters.store import Held

HEARTBEAT = 1.0
REPORT_INTERVAL = 0.25
LOSSES_AT_ONCE = 10_000


class WorkerSession:
    """The conversation of a worker process with the master, over a `MasterStream`.

    `tasks` gives the master's tasks in order, then None when the worker must leave. The worker calls `begin` before
    each task and `end` after it, so that the master can pause it between tasks. `orders` holds the master's orders
    about the ring of a job with all-reduce.
    """

    def __init__(self, folder: JobFolder, address: str, worker: int, incarnation: str, data_address: str = "") -> None:
        self.orders = RingOrders()
        self.tasks: queue.Queue[pb.Task | None] = queue.Queue()
        self._welcome: queue.SimpleQueue[pb.Welcome] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._activity = "starting"
        self._step = 0
        self._generation = 0
        self._records = 0
        self._losses: list[pb.LossPoint] = []
        self.holding: Callable[[], Held | Exchanged] | None = None
        """Says how much the tables of this process hold, or how long it took to exchange gradients with others, if it
        has or does either; called by the thread that reports."""
        self._changed = threading.Event()
        self._leaving = False
        self._state = threading.Condition()
        self._servers = pb.Servers()
        self._in_hand: dict[tuple[int, int], pb.Task] = {}
        self._busy = False
        self._paused = 0
        self._sent_away = False
        self._checkpoints_wait_until = 0.0
        hello = pb.Hello(
            role="worker", worker=worker, incarnation=incarnation, pid=os.getpid(), data_address=data_address
        )
        self._stream = MasterStream(folder, address, hello, self._receive, self._held)
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def welcome(self) -> pb.Welcome:
        """Wait for the master's welcome."""
        return self._welcome.get()

    # ------------------------------------------------------------ what the worker sends

    def send(self, **body: object) -> None:
        """Send a message, as in `send(want=pb.Want(tasks=2))`. Progress noted earlier is sent before it."""
        if self._changed.is_set():
            self._report()
        self._stream.send(**body)

    def note(self, level: str, text: str) -> None:
        """Send a message that users should see."""
        self.send(note=pb.Note(level=level, text=shortened(text)))

    def activity(self, activity: str) -> None:
        """Report what the worker is doing now."""
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

    @property
    def generation(self) -> int:
        """The generation of parameter servers that steps and losses belong to; 0 without servers."""
        return self._generation

    def settle(self, timeout: float) -> None:
        """Wait at most so many seconds until the master has acknowledged everything that was sent."""
        self._stream.settle(timeout)

    def close(self) -> None:
        """Send what is left and end the stream."""
        self._report()
        self._leaving = True
        self._stream.close()

    # ------------------------------------------------------------ tasks and servers

    def begin(self, task: pb.Task) -> bool:
        """Wait while the master has paused its workers; return whether the task still counts and should be done."""
        with self._state:
            self._state.wait_for(lambda: not self._paused)
            self._busy = task.generation == self._servers.generation and task.id >= self.orders.first_task
            return self._busy

    def end(self, task: pb.Task) -> None:
        """The task is over: its result was sent, or it no longer counts. Its gradients have reached the servers."""
        with self._state:
            self._busy = False
            self._in_hand.pop((task.id, task.attempt), None)
            if self._paused:
                self.send(paused=pb.Paused(number=self._paused))

    @property
    def sent_away(self) -> bool:
        """Whether the master has let this worker go."""
        return self._sent_away

    def wait_with_checkpoints(self, seconds: float) -> None:
        """Write no checkpoint for so many seconds."""
        self._checkpoints_wait_until = time.monotonic() + seconds

    @property
    def waits_with_checkpoints(self) -> bool:
        """Whether no checkpoint may be written now, because the last one could not be."""
        return time.monotonic() < self._checkpoints_wait_until

    def servers(self, newer_than: int = 0, timeout: float | None = None) -> pb.Servers | None:
        """Wait until all servers of a generation after `newer_than` are up, and return them.

        Returns None if that takes longer than `timeout` seconds, or if the worker must leave.
        """

        def ready() -> bool:
            return self._sent_away or (bool(self._servers.addresses) and self._servers.generation > newer_than)

        with self._state:
            return self._servers if self._state.wait_for(ready, timeout) and not self._sent_away else None

    # ------------------------------------------------------------ threads

    def _held(self) -> list[pb.TaskKey]:
        with self._state:
            return [pb.TaskKey(id=number, attempt=attempt) for number, attempt in self._in_hand]

    def _receive(self, message: pb.MasterMessage) -> None:
        with self._state:
            match message.WhichOneof("body"):
                case "welcome":
                    self._welcome.put(message.welcome)
                case "task":
                    self._in_hand[message.task.id, message.task.attempt] = message.task
                    self.tasks.put(message.task)
                case "servers":
                    generation = message.servers.generation
                    if generation != self._servers.generation:
                        self._forget_progress(generation)
                    self._servers = message.servers
                    self._in_hand = {key: t for key, t in self._in_hand.items() if t.generation == generation}
                case "ring":
                    first = message.ring.first_task
                    self._in_hand = {key: t for key, t in self._in_hand.items() if t.id >= first}
                case "pause":
                    self._paused = message.pause.number
                    if not self._busy:
                        self._stream.send(paused=pb.Paused(number=self._paused))
                case "resume":
                    self._paused = 0
                case "wait_with_checkpoints":
                    self.wait_with_checkpoints(message.wait_with_checkpoints.seconds)
                case "leave":
                    self._sent_away = True
                    self.tasks.put(None)
            self._state.notify_all()
        self.orders.receive(message)

    def _forget_progress(self, generation: int) -> None:
        with self._lock:
            self._generation, self._step = generation, 0
            self._losses.clear()

    def _beat(self) -> None:
        while not self._leaving:
            self._changed.wait(HEARTBEAT)
            self._report()
            time.sleep(REPORT_INTERVAL)

    def _report(self) -> None:
        with self._lock:
            self._changed.clear()
            losses = self._losses[-LOSSES_AT_ONCE:]
            progress = pb.Progress(
                activity=self._activity, step=self._step, records=self._records, losses=losses,
                generation=self._generation, **(self.holding()._asdict() if self.holding else {}),
            )  # fmt: skip
            if self._stream.tell(progress=progress):
                self._losses = []

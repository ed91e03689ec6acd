"""The master's orders about the ring: the session's thread receives them, the training thread obeys."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

from elasticdl_nb.runtime.protocol import master_pb2 as pb

READ_AHEAD = 2
"""How many tasks a worker has: one that it uses, and one that it reads."""


class Dismissed(Exception):
    """The worker must leave: it no longer takes part, and its tasks go to others."""


class TaskVoid(Exception):
    """The job has gone back to a checkpoint: the task under way no longer counts."""


class RingOrders:
    """The master's latest orders; the session's thread calls `on_regroup` when this worker must leave the ring."""

    def __init__(self) -> None:
        self.on_regroup: Callable[[], None] = lambda: None
        self._changed = threading.Condition()
        self._to_leave = 0
        self._ring = pb.Ring()
        self._no_work = False
        self._dismissed = False
        self._bell, self._clapper = socket.socketpair()
        for end in (self._bell, self._clapper):
            end.setblocking(False)

    # ------------------------------------------------------------ the session's thread

    def receive(self, message: pb.MasterMessage) -> None:
        """Note what a message orders."""
        body = message.WhichOneof("body")
        with self._changed:
            match body:
                case "regroup":
                    self._to_leave = max(self._to_leave, message.regroup.generation)
                case "ring" if message.ring.generation > self._ring.generation:
                    self._ring, self._no_work = message.ring, False
                case "no_task":
                    self._no_work = True
                case "task":
                    self._no_work = False
                case "leave":
                    self._dismissed = True
            self._changed.notify_all()
        if body == "regroup":
            self.on_regroup()
        self.wake()

    def wake(self) -> None:
        """Make `wait` return."""
        with contextlib.suppress(BlockingIOError):
            self._clapper.send(b"\0")

    # ------------------------------------------------------------ the training thread

    def is_to_leave(self, generation: int) -> bool:
        """Whether this worker must leave the ring of this generation."""
        return self._to_leave >= generation

    @property
    def no_work(self) -> bool:
        """Whether the master has said that it has no work for the worker, and has sent it none since."""
        return self._no_work

    def forget_no_work(self) -> None:
        """The master is asked for work again."""
        with self._changed:
            self._no_work = False

    @property
    def dismissed(self) -> bool:
        """Whether the worker must leave."""
        return self._dismissed

    @property
    def first_task(self) -> int:
        """Tasks with lower numbers no longer count."""
        return self._ring.first_task

    def next_ring(self, after: int) -> pb.Ring:
        """Wait for a ring of a later generation; raises Dismissed."""
        with self._changed:
            self._changed.wait_for(lambda: self._dismissed or self._ring.generation > after)
            if self._ring.generation > after:
                return self._ring
            raise Dismissed

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for anything to happen; return whether it did."""
        return bool(self._wait([self._bell.fileno()], timeout))

    def wait_for(self, neighbour: int) -> bool:
        """Wait for anything to happen, or until a neighbour's file descriptor is readable; return whether it is."""
        watched = [self._bell.fileno(), *([neighbour] if neighbour >= 0 else [])]
        return neighbour in self._wait(watched, None)

    def _wait(self, watched: list[int], timeout: float | None) -> list[int]:
        readable, _, _ = select.select(watched, [], [], timeout)
        if self._bell.fileno() in readable:
            with contextlib.suppress(BlockingIOError):
                while self._bell.recv(4096):
                    pass
        return readable

"""The order in which the master handles events: decide, write down, and only then let others know."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
import traceback
from collections import deque
from collections.abc import Callable

from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import Deed, Send
from elasticdl_nb.runtime.master.decisions.clock import JobClock
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.master.journal import Journal, may_pass
from elasticdl_nb.runtime.master.service import MasterService
from elasticdl_nb.runtime.protocol import master_pb2 as pb

LONGEST_PAUSE = 30.0
"""Seconds between two tries to write the journal, after many that have failed."""

logger = logging.getLogger(__name__)


class Bookkeeper:
    """Passes events to the coordinator and the journal, messages to the service, and other actions to `carry_out`.

    While the journal cannot be written, because the disk is full, say, it is tried again and again. No message leaves
    meanwhile, so there are no new tasks, and what processes report is not acknowledged: all that others know is safe.
    Workers finish the tasks that they have.
    """

    def __init__(self, coordinator: Coordinator, journal: Journal, service: MasterService) -> None:
        self.over = asyncio.Event()
        self.carry_out: Callable[[Deed], None]
        self._coordinator, self._journal, self._service = coordinator, journal, service
        self._clock = JobClock(coordinator.now)
        self._to_do: deque[Deed] = deque()
        self._acting = False
        self._failures = 0
        # Held until the events they follow from are committed: messages and acknowledgements.
        self._outgoing: list[Send] = []
        self._heard: dict[Key, int] = {}

    def now(self) -> float:
        """The time of the job's clock."""
        return self._clock.read(time.monotonic())

    def happened(self, event: events.Event) -> None:
        """Pass an event to the coordinator, then to the journal, and carry out what follows."""
        now, date = self.now(), time.time()
        try:
            changed = self._coordinator.handle(event, now, date)
            first = changed and self._journal.append(event, now, date)
        except Exception as error:
            # A defect must end the job loudly rather than meet the same event again and again.
            logger.exception("the master failed on %s", type(event).__name__)
            failed = defect(error)
            self._coordinator.handle(failed, now, date)
            first = self._journal.append(failed, now, date)
        if first:
            asyncio.get_running_loop().call_soon(self._commit)
        self._act()

    def told(self, key: Key, message: pb.WorkerMessage) -> None:
        """A process has sent a message; acknowledge it once it is safe."""
        self.happened(events.Said(key, message))
        if message.sequence:
            self._heard[key] = message.sequence

    def _commit(self) -> None:
        """Commit the events of this turn of the loop, then send the messages that follow from them."""
        try:
            self._journal.commit(self._coordinator)
        except sqlite3.Error as error:
            if may_pass(error) and not self.over.is_set():
                self._try_again(error)
                return
            # Without it no other master could continue: better to end than to forget.
            logger.exception("the journal could not be written")
            failure = pb.Failure(message=f"the job's journal could not be written: {error}")
            self._coordinator.handle(events.Failed(failure), self.now(), time.time())
            self._act()
        else:
            if self._failures:
                self._failures = 0
                self.happened(events.Noted("info", "the job's journal can be written again; the job goes on"))
        outgoing, self._outgoing = self._outgoing, []
        for send in outgoing:
            self._service.send(send.key, send.message)
        heard, self._heard = self._heard, {}
        for key, sequence in heard.items():
            self._service.acknowledge(key, sequence)

    def _try_again(self, error: sqlite3.Error) -> None:
        pause = min(2.0**self._failures, LONGEST_PAUSE)
        self._failures += 1
        logger.warning("the journal could not be written: %s; next try in %g seconds", error, pause)
        if self._failures == 1:
            text = f"the job's journal could not be written: {error}; no tasks are given out until it can be"
            self.happened(events.Noted("warning", text))
        asyncio.get_running_loop().call_later(pause, self._commit)

    def _act(self) -> None:
        for action in self._coordinator.actions:
            if isinstance(action, Send):
                self._outgoing.append(action)
            else:
                self._to_do.append(action)
        self._coordinator.actions.clear()
        if self._acting:  # an action has caused this event: what follows waits for its turn
            return
        self._acting = True
        try:
            while self._to_do:
                self.carry_out(self._to_do.popleft())
        finally:
            self._acting = False
        self._service.wake_watchers()
        if self._coordinator.is_over:
            self.over.set()


def defect(error: Exception) -> events.Failed:
    """Return the event that ends a job after an unexpected error in its master."""
    story = "".join(traceback.format_exception(error))
    return events.Failed(pb.Failure(message=f"the master failed: {error!r}", traceback=story))

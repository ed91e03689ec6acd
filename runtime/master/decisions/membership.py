"""The members of a job: which exist, their states, when each was last heard from, and which have died too often.

A plain object; times are passed in. A member is a role and a number; the processes that act for it one after another
differ in their incarnation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

Role = Literal["worker", "ps"]
MemberState = Literal["starting", "running", "finished", "failed", "stopped"]
Key = tuple[str, int, str]
"""Role, index and incarnation: one process."""

HEARTBEAT_LIMIT: dict[Role, float] = {"worker": 30.0, "ps": 15.0}
"""Seconds of silence after which a process that had joined counts as hung."""

HELLO_LIMIT = 30.0
"""Seconds after which a process that runs, but has not joined, counts as hung."""

PATIENT_HELLO_LIMIT = 240.0
"""The same after MANY_KILLS in a row: perhaps the machine is so busy that none would ever join otherwise."""

MANY_KILLS = 3

MAX_CRASHES = 3
"""Deaths in a row caused by the process itself, without a finished task in between, before the job gives up."""

MAX_KILLS = 20
"""The same for deaths with an outside cause."""


@dataclass
class Rate:
    """Events per second over about the last `window` seconds."""

    window: float = 5.0
    _samples: list[tuple[float, float]] = field(default_factory=list)

    def add(self, now: float, total: float) -> None:
        """Note the running total at this time."""
        if self._samples and total < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now, total))
        while len(self._samples) > 2 and self._samples[1][0] < now - self.window:
            self._samples.pop(0)

    def per_second(self, now: float) -> float:
        """The rate now; 0 before two samples, or if nothing came for three windows."""
        if len(self._samples) < 2 or now - self._samples[-1][0] > 3 * self.window:
            return 0.0
        (t0, n0), (t1, n1) = self._samples[0], self._samples[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def to_messages(self) -> list[journal.Sample]:
        """Return the samples in the journal's form."""
        return [journal.Sample(now=now, total=total) for now, total in self._samples]

    @classmethod
    def from_messages(cls, messages: Iterable[journal.Sample]) -> Rate:
        """Return the rate from messages made by `to_messages`."""
        return cls(_samples=[(sample.now, sample.total) for sample in messages])


@dataclass
class Member:
    """One worker's or server's state."""

    role: Role
    index: int
    state: MemberState = "starting"
    incarnation: str = "0"
    activity: str = "starting"
    obstacle: str = ""
    pid: int = 0
    restarts: int = 0
    last_heard: float = 0.0
    acknowledged: int = 0
    room: int = 0
    leave_by: float = 0.0
    tasks_done: int = 0
    records_before: int = 0
    records_now: int = 0
    deaths_in_a_row: int = 0
    kills_in_a_row: int = 0
    rate: Rate = field(default_factory=Rate)
    # Servers: the address for workers, the generation of the contents.
    address: str = ""
    generation: int = 0
    # What a process holds, and how it exchanges gradients: see `Progress`.
    rows: int = 0
    bytes: int = 0
    admitted: int = 0
    evicted: int = 0
    exchanging: float = 0.0
    hidden: float = 0.0

    @property
    def name(self) -> str:
        """The name that users see."""
        return f"{self.role}-{self.index}"

    @property
    def key(self) -> Key:
        """The process that acts for it now."""
        return self.role, self.index, self.incarnation

    @property
    def records(self) -> int:
        """Records processed by all its processes."""
        return self.records_before + self.records_now

    @property
    def is_live(self) -> bool:
        """Whether a process acts for it, or is about to."""
        return self.state in ("starting", "running")

    @property
    def is_wanted(self) -> bool:
        """Whether it is live and not on its way out."""
        return self.is_live and not self.leave_by

    def holds(self, progress: pb.Progress) -> None:
        """It says how much it holds, and how long its exchanges took."""
        self.rows, self.bytes = progress.rows, progress.bytes
        self.admitted, self.evicted = progress.admitted, progress.evicted
        self.exchanging, self.hidden = progress.exchanging, progress.hidden

    def to_message(self) -> journal.Member:
        """Return everything but the role, which is the group's, in the journal's form."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        return journal.Member(rate=self.rate.to_messages(), **values)

    @classmethod
    def from_message(cls, role: Role, message: journal.Member) -> Member:
        """Return the member from a message made by `to_message`."""
        values: dict[str, Any] = {name: getattr(message, name) for name in _PLAIN}
        return cls(role, rate=Rate.from_messages(message.rate), **values)


_PLAIN = [one.name for one in fields(Member) if one.name not in ("role", "rate")]


class Membership:
    """All members of one role."""

    def __init__(self, role: Role, count: int) -> None:
        self.role = role
        self.members = {index: Member(role, index) for index in range(count)}

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members.values())

    def current(self, index: int, incarnation: str) -> Member | None:
        """The member, if this process still acts for it."""
        member = self.members.get(index)
        return member if member is not None and member.incarnation == incarnation and member.is_live else None

    def joined(self, index: int, incarnation: str, pid: int, now: float) -> Member | None:
        """A process says hello as this member, perhaps again; None if it does not act for it."""
        member = self.current(index, incarnation)
        if member is None or (member.state == "running" and member.pid != pid):
            return None
        member.pid, member.last_heard, member.state, member.obstacle = pid, now, "running", ""
        return member

    def task_done(self, member: Member) -> None:
        """Note a finished task: whatever killed earlier processes did not recur."""
        member.tasks_done += 1
        member.deaths_in_a_row = member.kills_in_a_row = 0

    def died(self, member: Member, *, own: bool, counts: bool = True) -> bool:
        """A member's process is gone; return whether another may be started, as its next incarnation.

        `own` says whether the process itself was the cause. One that its platform took away does not count at all.
        """
        member.deaths_in_a_row += counts and own
        member.kills_in_a_row += counts and not own
        if member.deaths_in_a_row >= MAX_CRASHES or member.kills_in_a_row >= MAX_KILLS:
            self.ended(member, "failed")
            return False
        member.restarts += 1
        self._start(member, "restarting")
        return True

    def ended(self, member: Member, state: MemberState) -> None:
        """A member's process is gone, and no other takes its place."""
        self._clear(member)
        member.state, member.activity = state, ""

    def add(self) -> Member:
        """Return one more member, whose process must be started: one that had ended, or a new one."""
        for member in self:
            if not member.is_live:
                self._start(member, "starting")
                return member
        index = len(self.members)
        self.members[index] = Member(self.role, index)
        return self.members[index]

    def _start(self, member: Member, activity: str) -> None:
        self._clear(member)
        member.incarnation = str(int(member.incarnation) + 1)
        member.state, member.activity = "starting", activity

    def _clear(self, member: Member) -> None:
        member.records_before, member.records_now = member.records, 0
        member.pid, member.room, member.acknowledged, member.leave_by = 0, 0, 0, 0.0
        member.address, member.generation, member.obstacle, member.last_heard = "", 0, "", 0.0

    def hung(self, now: float) -> list[Member]:
        """Members that have been silent for too long, those included that run and have not joined."""
        return [member for member in self.live() if member.last_heard and now - member.last_heard > self._limit(member)]

    def _limit(self, member: Member) -> float:
        if member.state == "running":
            return HEARTBEAT_LIMIT[self.role]
        return PATIENT_HELLO_LIMIT if member.kills_in_a_row >= MANY_KILLS else HELLO_LIMIT

    def live(self) -> list[Member]:
        """Members that have a process, or are about to."""
        return [member for member in self if member.is_live]

    def running(self) -> list[Member]:
        """Members whose process has joined."""
        return [member for member in self if member.state == "running"]

    def to_messages(self) -> list[journal.Member]:
        """Return the members in the journal's form."""
        return [member.to_message() for member in self]

    def load(self, messages: Iterable[journal.Member]) -> None:
        """Restore the members from messages made by `to_messages`."""
        self.members = {message.index: Member.from_message(self.role, message) for message in messages}

"""A RingCoordinator whose workers are played by the test: they train in step, as the real ones do."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from twins import Twins

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import (
    CommitCheckpoint,
    DiscardCheckpoint,
    Kill,
    Send,
    SetCheckpointAside,
    Start,
)
from elasticdl_nb.runtime.master.decisions.membership import Key
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import state_messages
from elasticdl_nb.runtime.spec import JobSpec


@dataclass
class Member:
    """A worker's process: its model is a count of the records that are in it."""

    index: int
    model: Counter[Any] = field(default_factory=Counter)
    has_model: bool = False
    step: int = 0
    ring: pb.Ring = field(default_factory=pb.Ring)
    in_ring: bool = False
    tasks: deque[pb.Task] = field(default_factory=deque)
    used: int = 0
    places: dict[int, list[pb.Place]] = field(default_factory=dict)
    earlier: pb.Place | None = None
    in_flight: int = 0
    without_work: int = 0
    unsafe: list[dict[str, Any]] = field(default_factory=list)

    def place(self, records: int, complete: bool = False) -> pb.Place:
        task = self.tasks[0]
        return pb.Place(worker=self.index, task=task.id, attempt=task.attempt, records=records, complete=complete)


class RingPlay:
    """The job and its workers; records are used one at a time."""

    def __init__(self, *, records: int = 12, workers: int = 3, validation: int = 0, **options: Any) -> None:
        spec = JobSpec.create(
            "train", model_def="m", data="f", minibatch_size=1, num_workers=workers, num_minibatches_per_task=3,
            distribution_strategy="AllreduceStrategy", **({"validation_data": "v"} if validation else {}), **options,
        )  # fmt: skip
        self.now = 1.0
        self.job = Twins(spec)
        self.members: dict[Key, Member | None] = {}
        self.saved: dict[str, Counter[Any]] = {}
        self.damaged: set[str] = set()
        self.poison: set[int] = set()
        self.numbers = 0
        self.result: Counter[Any] | None = None
        self.happened(events.Started())
        files = (FileRecords("v", validation),) if validation else ()
        self.happened(events.DataCounted((FileRecords("f", records),), files))

    # ------------------------------------------------------------ the master's words

    def happened(self, event: events.Event) -> None:
        self.job.handle(event, self.now)
        self.act()

    def act(self) -> None:
        while self.job.actions:
            action = self.job.actions.pop(0)
            match action:
                case Start():
                    self.members[action.key] = None
                case Kill():
                    if self.members.pop(action.key, self) is not self:
                        self.job.handle(events.Exited(action.key, -9), self.now)
                case Send():
                    self.hear(action.key, action.message)
                case CommitCheckpoint():
                    self.job.handle(events.CheckpointCommitted(action.path, action.path), self.now)
                case DiscardCheckpoint() | SetCheckpointAside():
                    del self.saved[action.path]

    def hear(self, key: Key, message: pb.MasterMessage) -> None:
        member = self.members.get(key)
        if member is None:
            return
        match message.WhichOneof("body"):
            case "task":
                member.tasks.append(message.task)
            case "no_task":
                member.without_work += 1
            case "regroup":
                if member.in_ring and message.regroup.generation == member.ring.generation:
                    self.halt(key)
            case "ring":
                member.ring, member.in_ring = message.ring, True
                first = message.ring.first_task
                if member.tasks and member.tasks[0].id < first:
                    member.used = 0
                member.tasks = deque(task for task in member.tasks if task.id >= first)
            case "leave":
                del self.members[key]
                self.job.handle(events.Exited(key, 0), self.now)

    def say(self, key: Key, **body: Any) -> None:
        self.happened(events.Said(key, pb.WorkerMessage(**body)))

    # ------------------------------------------------------------ what workers do

    def living(self) -> list[tuple[Key, Member]]:
        return [(key, member) for key, member in self.members.items() if member is not None]

    def join(self, key: Key) -> None:
        self.members[key] = Member(key[1])
        hello = pb.Hello(role="worker", worker=key[1], incarnation=key[2], pid=1, data_address=f"a{key[1]}")
        self.happened(events.Greeted(hello))
        assert self.job.belongs(hello)
        self.say(key, want=pb.Want(tasks=2))
        self.halt(key)

    def halt(self, key: Key) -> None:
        member = self.members[key]
        member.in_ring = False
        places = [place for some in member.places.values() for place in some]
        halted = pb.Halted(
            generation=member.ring.generation, has_model=member.has_model, step=member.step, places=places
        )
        self.say(key, halted=halted)

    def ring(self) -> list[tuple[Key, Member]]:
        """The workers that all are in the same ring, with the model handed over; empty if there is none."""
        inside = [(key, member) for key, member in self.living() if member.in_ring]
        if not inside:
            return []
        newest = max((member.ring for _, member in inside), key=lambda ring: ring.generation)
        same = {m.index: (k, m) for k, m in inside if m.ring.generation == newest.generation}
        if set(same) != set(newest.workers):
            return []
        ranks = [same[index] for index in newest.workers]
        donor = ranks[newest.donor][1]
        if newest.restore_from in self.damaged:
            failure = pb.Failure(message="damaged", checkpoint=newest.restore_from)
            self.say(same[newest.workers[newest.donor]][0], worker_failed=pb.WorkerFailed(failure=failure))
            return []
        if newest.restore_from:
            donor.model, donor.step = self.saved[newest.restore_from].copy(), newest.step
            donor.places, newest.restore_from = {}, ""
        donor.has_model = True
        assert donor.step == newest.step or not newest.hand_over
        for _, member in ranks:
            if newest.hand_over and member is not donor:
                was_in_it = bool(member.tasks) and member.tasks[0].id == member.in_flight
                if member.has_model and member.step < donor.step and was_in_it:
                    member.used = max(member.used, member.tasks[0].skip) + 1
                member.model, member.step, member.has_model = donor.model.copy(), donor.step, True
                member.places = dict(donor.places)
            assert member.has_model and member.step == donor.step, "nobody trains with another model"
        newest.hand_over = False
        return ranks

    def step(self, reaches: int | None = None) -> bool:
        """All make a step; only the first so many finish it, and then the rest dies or is told by its neighbours."""
        ranks = self.ring()
        if not ranks or any(m.tasks and m.tasks[0].kind != pb.TRAIN for _, m in ranks):
            return False
        for key, member in ranks:
            coming = {record for task in member.tasks for record in self.records(task)}
            if self.poison & coming:
                self.die(key, -11)
                for other, one in ranks:  # the round is broken for the rest
                    if self.members.get(other) is one and one.in_ring and one.ring.generation == member.ring.generation:
                        self.halt(other)
                return True
        calls = [(key, body) for key, member in ranks for body in member.unsafe]
        for _, member in ranks:
            member.unsafe = []
        table: dict[int, list[pb.Place]] = {}
        added: Counter[Any] = Counter()
        for _, member in ranks:
            current = []
            member.in_flight = 0
            if member.tasks:
                member.in_flight = member.tasks[0].id
                task = member.tasks[0]
                begin = max(member.used, task.skip)
                record = self.records(task)[begin : begin + 1]
                added.update((task.epoch, one) for one in record)
                current = [member.place(begin + len(record))]
            table[member.index] = ([member.earlier] if member.earlier else []) + current
        anything = bool(added)
        for _, member in ranks[: len(ranks) if reaches is None else reaches]:
            if anything:
                member.model = member.model + added
                member.step += 1
                member.places = dict(table)
                if member.tasks:
                    member.used = max(member.used, member.tasks[0].skip) + 1
        for key, body in calls:
            if key in self.members:
                self.say(key, **body)
        for key, member in ranks:
            if key in self.members:
                self.end_of_task(key, member)
        return anything

    def end_of_task(self, key: Key, member: Member) -> None:
        while member.tasks and member.tasks[0].kind == pb.TRAIN:
            task = member.tasks[0]
            if max(member.used, task.skip) < len(self.records(task)):
                return
            count = len(self.records(task))
            member.earlier = member.place(count, complete=True)
            member.tasks.popleft()
            member.used = 0
            done = pb.TaskDone(id=task.id, attempt=task.attempt, records=count, step=member.step)
            member.unsafe.append({"task_done": done})
            if len(member.ring.workers) == 1:
                for body in member.unsafe:
                    self.say(key, **body)
                member.unsafe = []

    @staticmethod
    def records(task: pb.Task) -> list[int]:
        return [record for span in task.ranges for record in range(span.start, span.end)]

    def other_work(self) -> bool:
        """Evaluate, or finish."""
        ranks = self.ring()
        for key, member in ranks:
            if member.tasks and member.tasks[0].kind != pb.TRAIN and key in self.members:
                task = member.tasks.popleft()
                done = pb.TaskDone(id=task.id, attempt=task.attempt, step=member.step)
                training = [one for _, other in ranks for one in other.tasks if one.kind == pb.TRAIN]
                assert not training, "nobody trains while the model is evaluated"
                if task.kind == pb.FINISH:
                    self.result = member.model.copy()
                    done.outputs.append("out")
                elif task.summarize:
                    assert member is ranks[0][1]
                    done.metrics["count"] = task.states[0].arrays[0].values[0]
                else:
                    done.records = len(self.records(task))
                    done.states.extend(state_messages({"count": [[done.records]]}))
                self.say(key, task_done=done)
                return True
        return False

    def checkpoint(self) -> None:
        if ranks := self.ring():
            key, oldest = ranks[0]
            self.numbers += 1
            name = f"checkpoint {self.numbers}"
            self.saved[name] = oldest.model.copy()
            places = [place for some in oldest.places.values() for place in some]
            self.say(key, checkpoint_ready=pb.CheckpointReady(step=oldest.step, path=name, places=places))

    def die(self, key: Key, code: int = -9) -> None:
        member = self.members.pop(key)
        neighbours = [
            other for other, one in self.living()
            if member and one.in_ring and member.in_ring and one.ring.generation == member.ring.generation
        ]  # fmt: skip
        self.happened(events.Exited(key, code))
        for other in neighbours[:2]:  # they notice by themselves
            if (
                (one := self.members.get(other)) is not None
                and one.in_ring
                and one.ring.generation == member.ring.generation
            ):
                self.halt(other)

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        for key, member in self.living():
            if key in self.members:
                self.say(key, progress=pb.Progress(step=member.step))
        self.happened(events.Ticked())

    def run(self) -> None:
        """Go on without further trouble to the end."""
        for _ in range(20_000):
            if self.job.is_over:
                return
            for key, member in list(self.members.items()):
                if member is None and self.members.get(key, self) is None:
                    self.join(key)
            if not self.other_work() and not self.step():
                self.pass_time(1.0)
        raise AssertionError(f"the job does not end: {self.job.queue}, {vars(self.job.rendezvous)}")


def every_record(epochs: int, records: int) -> Counter[Any]:
    return Counter({(epoch, record): 1 for epoch in range(epochs) for record in range(records)})

"""Jobs with parameter servers: servers, workers and masters that die in any order, checkpoints at any moment."""

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import every_record
from twins import Keeping, Twins

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import (
    BeginCheckpoint,
    CommitCheckpoint,
    DiscardCheckpoint,
    Kill,
    Send,
    SetCheckpointAside,
    Start,
)
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import state_messages
from elasticdl_nb.runtime.spec import JobSpec


@dataclass
class Process:
    """What a worker and a server have in common: a stream to the master that outlives it."""

    key: tuple
    joined: bool = False
    connected: bool = False
    sent: int = 0
    unacknowledged: list = field(default_factory=list)
    paused: int = 0
    leaving: bool = False

    def send(self, **body):
        self.sent += 1
        self.unacknowledged.append(pb.WorkerMessage(sequence=self.sent, **body))

    def hello(self, **more):
        role, index, incarnation = self.key
        return pb.Hello(role=role, worker=index, incarnation=incarnation, pid=1, again=self.joined, **more)

    def held(self):
        return []


@dataclass
class Server(Process):
    generation: int = 0
    used: Counter = field(default_factory=Counter)
    twice: Counter = field(default_factory=Counter)
    writing: list = field(default_factory=list)

    def contents(self):
        return self.used.copy(), self.twice.copy()


@dataclass
class Worker(Process):
    generation: int = 0
    servers: bool = False
    tasks: list = field(default_factory=list)
    busy: pb.Task | None = None

    def held(self):
        tasks = [*([self.busy] if self.busy else []), *self.tasks]
        results = [m.task_done for m in self.unacknowledged if m.WhichOneof("body") == "task_done"]
        return [pb.TaskKey(id=t.id, attempt=t.attempt) for t in [*tasks, *results]]


def records_of(task):
    return [(task.epoch, record) for r in task.ranges for record in range(r.start, r.end)]


class Scene:
    """A job with its processes and its files; messages wait until the test lets them arrive."""

    def __init__(self, records=10, validation=0, workers=2, servers=2, **options):
        if validation:
            options["validation_data"] = "v"
        options.setdefault("data", "f")
        spec = JobSpec.create(
            "train", model_def="m", minibatch_size=1, num_minibatches_per_task=2, num_workers=workers,
            num_ps=servers, distribution_strategy="ParameterServerStrategy", **options,
        )  # fmt: skip
        self.now = 1.0
        self.processes = {}
        self.files = {}
        self.damaged = set()
        self.job = Twins(spec)
        self.result = None
        self.happened(events.Started())
        files = [(FileRecords(name, count),) if count else () for name, count in (("f", records), ("v", validation))]
        self.happened(events.DataCounted(*files))

    # ------------------------------------------------------------ the master

    def happened(self, event):
        self.job.handle(event, self.now)
        self.act()

    def scale(self, workers):
        problem = self.job.scaling_problem(workers)
        if not problem:
            self.happened(events.Scaled(workers))
        return problem

    def act(self):
        while self.job.actions:
            action = self.job.actions.pop(0)
            match action:
                case Start():
                    self.processes[action.key] = (Worker if action.key[0] == "worker" else Server)(action.key)
                case Kill():
                    if self.processes.pop(action.key, None):
                        self.job.handle(events.Exited(action.key, -9), self.now)
                case Send():
                    self.receive(action.key, action.message)
                case BeginCheckpoint():
                    path = f"new {action.number}"
                    self.files[path] = {}
                    self.job.handle(events.CheckpointBegun(action.number, path), self.now)
                case CommitCheckpoint():
                    final = action.path.replace("new", "checkpoint")
                    if action.path in self.files:
                        self.files[final] = self.files.pop(action.path)
                    used = [used for used, _ in self.files[final].values()]
                    assert all(other == used[0] for other in used), "servers must have captured the same instant"
                    self.job.handle(events.CheckpointCommitted(action.path, final), self.now)
                case DiscardCheckpoint() | SetCheckpointAside():
                    self.files.pop(action.path, None)

    def master_dies(self, *, forgetting_to_act=False, heard_at_once=True):
        """The master is started again, and knows what is in its journal. Perhaps processes only find it later."""
        for process in self.processes.values():
            process.connected = False
        self.job.another_master()
        if forgetting_to_act:
            self.job.actions.clear()
        self.happened(events.Recovered(tuple(self.processes)))
        for process in list(self.processes.values()) if heard_at_once else []:
            if process.joined and process.key in self.processes:
                self.greet(process)

    def greet(self, process):
        more = {"data_address": f"{process.key}"} if isinstance(process, Server) else {"held": process.held()}
        hello = process.hello(**more)
        self.happened(events.Greeted(hello))
        if not self.job.belongs(hello):
            self.processes.pop(process.key, None)
        process.joined = True

    # ------------------------------------------------------------ what processes do

    def receive(self, key, message):
        process = self.processes.get(key)
        if process is None or not (process.connected or message.WhichOneof("body") == "welcome"):
            return
        process.joined = process.connected = True
        body = message.WhichOneof("body")
        if body == "welcome":
            done = message.welcome.acknowledged
            process.unacknowledged = [m for m in process.unacknowledged if m.sequence > done]
        elif body == "task":
            assert message.task.generation == process.generation and process.servers
            process.tasks.append(message.task)
        elif body == "servers":
            if message.servers.generation != process.generation:
                process.tasks, process.busy = [], None
            process.generation, process.servers = message.servers.generation, bool(message.servers.addresses)
        elif body == "pause":
            process.paused = message.pause.number
            if not process.busy:
                process.send(paused=pb.Paused(number=process.paused))
        elif body == "resume":
            process.paused = 0
        elif body == "restore" and message.restore.path in self.damaged:
            failure = pb.Failure(message="damaged", checkpoint=message.restore.path)
            process.send(restore_done=pb.RestoreDone(generation=message.restore.generation, failure=failure))
        elif body == "restore" and message.restore.generation != process.generation:
            process.generation = message.restore.generation
            contents = (
                self.files[message.restore.path][process.key[1]] if message.restore.path else (Counter(), Counter())
            )
            process.used, process.twice = contents[0].copy(), contents[1].copy()
            process.send(restore_done=pb.RestoreDone(generation=process.generation))
        elif body == "restore":
            process.send(restore_done=pb.RestoreDone(generation=process.generation))
        elif body == "snapshot":
            assert not any(w.busy for w in self.workers() if w.generation == process.generation), "all must have paused"
            process.send(snapshot_captured=pb.SnapshotCaptured(number=message.snapshot.number))
            process.writing.append((message.snapshot, process.contents()))
        elif body == "leave":
            process.leaving = True

    def workers(self):
        return [p for p in self.processes.values() if isinstance(p, Worker)]

    def servers(self):
        return [p for p in self.processes.values() if isinstance(p, Server)]

    def push(self, worker, records, twice=False):
        for server in self.servers():
            if server.generation == worker.generation:
                (server.twice if twice else server.used).update(records)

    def step(self, process):
        """Let a process do what it can do next; return whether there was anything."""
        if not process.joined:
            self.greet(process)
            if isinstance(process, Worker):
                process.send(want=pb.Want(tasks=2))
        elif not process.connected:
            self.greet(process)
        elif process.unacknowledged:
            message = process.unacknowledged.pop(0)
            self.happened(events.Said(process.key, message))
        elif isinstance(process, Server):
            if process.writing:
                snapshot, contents = process.writing.pop(0)
                if snapshot.path in self.files:
                    self.files[snapshot.path][process.key[1]] = contents
                process.send(snapshot_written=pb.SnapshotWritten(number=snapshot.number))
            elif process.leaving:
                del self.processes[process.key]
                self.happened(events.Exited(process.key, 0))
            else:
                return False
        elif process.busy:
            self.finish(process)
        elif process.tasks and not process.paused and process.servers:
            process.busy = process.tasks.pop(0)
            if process.busy.kind == pb.TRAIN:
                self.push(process, records_of(process.busy)[:1])
        elif process.leaving and not process.tasks:
            del self.processes[process.key]
            self.happened(events.Exited(process.key, 0))
        else:
            return False
        return True

    def finish(self, worker):
        task, worker.busy = worker.busy, None
        done = pb.TaskDone(id=task.id, attempt=task.attempt, records=sum(r.end - r.start for r in task.ranges))
        if task.kind == pb.TRAIN:
            self.push(worker, records_of(task)[1:])
            done.step = max(sum(server.used.values()) for server in self.servers())
        elif task.kind == pb.EVALUATE and task.summarize:
            done.metrics["count"] = task.states[0].arrays[0].values[0]
        elif task.kind == pb.EVALUATE:
            done.states.extend(state_messages({"count": [[done.records]]}))
        else:
            self.result = [(server.used, server.twice) for server in self.servers()]
        worker.send(task_done=done)
        if worker.paused:
            worker.send(paused=pb.Paused(number=worker.paused))

    def die(self, process):
        """A process is killed. What it has pushed of a task that it leaves undone will be pushed again."""
        if isinstance(process, Worker):
            undone = [process.busy] if process.busy and process.busy.kind == pb.TRAIN else []
            for task in undone:
                self.push(process, records_of(task)[:1], twice=True)
        del self.processes[process.key]

    def hear_from_all_but(self, silent=None):
        for process in list(self.processes.values()):
            if process.key[:2] != silent:
                self.happened(events.Said(process.key, pb.WorkerMessage(progress=pb.Progress())))

    def run(self):
        for _ in range(5000):
            if self.job.is_over:
                return
            assert any([self.step(process) for process in list(self.processes.values())]), "nothing goes on"
        raise AssertionError("the job does not end")


def effects(scene):
    results = [used - twice for used, twice in scene.result]
    assert all(result == results[0] for result in results)
    return results[0]


def test_trains_with_servers_evaluates_and_finishes():
    scene = Scene(records=9, num_epochs=2, validation=3)
    scene.run()
    assert scene.job.phase == pb.SUCCEEDED
    assert effects(scene) == every_record(2, 9)
    assert scene.job.picture.evaluations[-1].metrics["count"] == 3
    assert not scene.processes


def steps(scene, count):
    for _ in range(count):
        for process in list(scene.processes.values()):
            scene.step(process)


def test_the_final_evaluation_waits_for_the_last_training_tasks_of_all_workers():
    scene = Scene(records=20, validation=6, workers=3)
    evaluated = 0
    while scene.job.phase not in (pb.SUCCEEDED, pb.FAILED):
        steps(scene, 1)
        held = [task for worker in scene.workers() for task in [*worker.tasks, *([worker.busy] if worker.busy else [])]]
        if any(task.kind == pb.EVALUATE for task in held):
            evaluated += 1
            assert scene.job.queue.records_done["train"] == 20
    assert evaluated and len(scene.job.picture.evaluations) == 1


def test_a_servers_death_takes_the_job_back_to_its_checkpoint_without_restarting_anyone_else():
    scene = Scene(records=40, checkpoint_steps=4)
    while not scene.job.saved.complete:
        steps(scene, 1)
    saved = scene.job.saved.newest.step
    steps(scene, 2)
    victim = scene.servers()[0]
    scene.die(victim)
    scene.happened(events.Exited(victim.key, -9))
    assert scene.job.step == saved and scene.job.rollbacks == 1
    assert f"the checkpoint of step {saved}" in scene.job.picture.events[-1].text
    scene.run()
    assert effects(scene) == every_record(1, 40)
    assert scene.job.queue.records_done["train"] == 40
    assert [m.restarts for m in scene.job.members()] == [0, 0, 1, 0]


def test_a_workers_death_stops_nobody():
    scene = Scene(records=40)
    steps(scene, 6)
    victim = scene.workers()[0]
    scene.die(victim)
    scene.happened(events.Exited(victim.key, -9))
    assert scene.job.rollbacks == 0 and scene.job.servers.generation == 1
    scene.run()
    assert effects(scene) == every_record(1, 40)


def test_a_checkpoint_that_servers_cannot_write_leaves_the_one_before():
    scene = Scene(records=60, checkpoint_steps=4)
    while not scene.job.saved.complete:
        steps(scene, 1)
    before = scene.job.saved.newest
    while not any(server.writing for server in scene.servers()):
        steps(scene, 1)
    server = next(server for server in scene.servers() if server.writing)
    (snapshot, _) = server.writing.pop()
    server.send(snapshot_written=pb.SnapshotWritten(number=snapshot.number, failure=pb.Failure(message="disk full")))
    while server.unacknowledged:
        scene.step(server)
    assert scene.job.saved.newest is before
    assert "disk full" in scene.job.picture.events[-1].text
    assert snapshot.path not in scene.files
    scene.run()
    assert effects(scene) == every_record(1, 60)


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it():
    scene = Scene(records=60, checkpoint_steps=4)
    while len(scene.job.saved.complete) < 2:
        steps(scene, 1)
    first, second = scene.job.saved.complete[-2:]
    victim = scene.servers()[0]
    scene.die(victim)
    scene.happened(events.Exited(victim.key, -9))
    server = scene.servers()[0]
    server.unacknowledged.clear()
    failure = pb.Failure(message="server-0-of-2.ps is damaged")
    server.send(restore_done=pb.RestoreDone(generation=scene.job.servers.generation, failure=failure))
    scene.step(server)
    assert scene.job.step == first.step and second.path not in scene.files
    scene.run()
    assert effects(scene) == every_record(1, 60)


def test_a_checkpoint_that_is_completed_after_a_rollback_is_discarded():
    scene = Scene(records=60, checkpoint_steps=4)
    while not any(isinstance(action, CommitCheckpoint) for action in scene.job.actions):
        for process in list(scene.processes.values()):
            if process.unacknowledged and process.unacknowledged[0].WhichOneof("body") == "snapshot_written":
                scene.job.handle(events.Said(process.key, process.unacknowledged.pop(0)), scene.now)
            else:
                scene.step(process)
    commit = scene.job.actions.pop()
    scene.files["final"] = scene.files.pop(commit.path)
    victim = scene.servers()[0]
    scene.die(victim)
    scene.happened(events.Exited(victim.key, -9))
    scene.happened(events.CheckpointCommitted(commit.path, "final"))
    assert not scene.job.saved.complete and "final" not in scene.files
    scene.run()
    assert effects(scene) == every_record(1, 60)


def test_workers_join_and_leave_while_the_job_runs():
    scene = Scene(records=60, workers=1)
    steps(scene, 4)
    assert scene.scale(3) == ""
    steps(scene, 6)
    assert len(scene.workers()) == 3 and all(worker.joined for worker in scene.workers())
    assert scene.scale(1) == ""
    steps(scene, 30)
    assert len(scene.workers()) == 1
    assert scene.scale(0) == "0 workers cannot do the job; expected at least 1"
    scene.run()
    assert effects(scene) == every_record(1, 60)
    assert scene.job.queue.tasks_retried == 0
    assert [event.mark for event in scene.job.picture.events if event.mark] == ["joined", "joined", "left"]


def test_a_late_task_is_given_to_another_worker_and_counts_once():
    scene = Scene(records=40, workers=2)
    slow, fast = scene.workers()
    while not slow.busy:
        steps(scene, 1)
    task = slow.busy
    while any([scene.step(p) for p in scene.processes.values() if p is not slow]):
        scene.now += 0.1
    scene.now += 60
    scene.hear_from_all_but()
    scene.happened(events.Ticked())
    assert [t.id for t in fast.tasks] == [task.id]
    scene.run()
    assert scene.job.phase == pb.SUCCEEDED
    assert scene.job.queue.records_done["train"] == 40


@pytest.mark.parametrize("role", ["worker", "ps"])
def test_a_process_that_hangs_is_killed_and_replaced(role):
    scene = Scene(records=20)
    steps(scene, 4)
    scene.now += 20 if role == "ps" else 35
    scene.hear_from_all_but((role, 0))
    scene.happened(events.Ticked())
    assert (role, 0, "0") not in scene.processes and (role, 0, "1") in scene.processes
    scene.run()
    assert scene.job.phase == pb.SUCCEEDED


EVENTS = [
    "go",
    "go",
    "go",
    "go",
    "go",
    "worker",
    "server",
    "both",
    "master",
    "master",
    "scale",
    "checkpoint",
    "tick",
    "damage",
]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_every_record_counts_exactly_once_whatever_dies(data):
    records, epochs = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 2))
    scene = Scene(
        records=records, num_epochs=epochs, validation=data.draw(st.integers(0, 3)), checkpoint_steps=4,
        workers=data.draw(st.integers(1, 3)), servers=data.draw(st.integers(1, 2)),
        checkpoint_dir=data.draw(st.sampled_from(["", "d"])),
    )  # fmt: skip
    disturb(scene, data.draw(st.integers(0, 30)), lambda some: data.draw(st.sampled_from(some)))
    if scene.job.phase not in (pb.FAILED, pb.SUCCEEDED):
        scene.run()
    assert scene.job.phase == pb.SUCCEEDED
    assert scene.job.queue.records_done["train"] == records * epochs
    assert effects(scene) == every_record(epochs, records)
    if scene.job.spec.checkpoint_dir:  # for another job to begin with
        assert scene.job.saved.newest.step == scene.job.step
    assert not [path for path in scene.files if path.startswith("new")] or scene.job.rollbacks


def disturb(scene, times, choose):
    deaths = 0
    for _ in range(times):
        if scene.job.is_over:
            break
        event = choose(EVENTS)
        if event == "go":
            for _ in range(choose(range(1, 11))):
                if scene.processes:
                    scene.step(choose(list(scene.processes.values())))
        elif event in ("worker", "server", "both") and deaths < 15:
            deaths += 1
            # A result that is on its way when its worker dies is one that the servers have, but the master has not.
            dead = [w for w in scene.workers() if not w.unacknowledged][:1] if event != "server" else []
            dead += scene.servers()[:1] if event != "worker" else []
            for process in dead:
                scene.die(process)
            for process in dead if choose([True, False]) else []:
                scene.happened(events.Exited(process.key, -9))
            if any(scene.job.member(process.key) for process in dead):
                scene.master_dies()
        elif event == "master":
            if choose([True, False]) and scene.processes:
                process = choose(list(scene.processes.values()))
                if process.unacknowledged:
                    scene.job.handle(events.Said(process.key, process.unacknowledged[0]), scene.now)
            scene.master_dies(forgetting_to_act=True, heard_at_once=choose([True, False]))
        elif event == "scale":
            scene.scale(choose(range(1, 5)))
        elif event == "damage" and scene.job.saved.complete:
            scene.damaged.add(choose(scene.job.saved.complete).path)
        elif event in ("checkpoint", "tick"):
            scene.now += 1.0
            scene.happened(events.Ticked())


def test_a_master_that_dies_while_the_last_checkpoint_is_written_has_another_one_made():
    scene = Scene(records=8, checkpoint_dir="d")
    while not any(server.writing for server in scene.servers()) or scene.job._round.stops_work:
        for process in list(scene.processes.values()):
            if not (isinstance(process, Server) and process.writing and not process.unacknowledged):
                scene.step(process)
    assert scene.job.queue.records_done["train"] == 8
    scene.master_dies()
    scene.run()
    assert scene.job.saved.newest.step == scene.job.step


@pytest.mark.parametrize("late", ["worker", "ps"])
def test_a_checkpoint_that_begins_before_all_have_found_the_new_master_stops_nobody(late):
    scene = Scene(records=40, checkpoint_steps=4)
    while scene.job.step < 6:
        steps(scene, 1)
    scene.master_dies(heard_at_once=False)
    in_time = [process for process in scene.processes.values() if process.key[:2] != (late, 1)]
    scene.happened(events.Ticked())
    while any([scene.step(process) for process in in_time]):
        pass
    scene.happened(events.Ticked())
    while any([scene.step(process) for process in in_time]):
        pass
    assert scene.job._round.stops_work  # it waits for the late one
    scene.run()
    assert effects(scene) == every_record(1, 40)


def test_every_attribute_is_kept_for_another_master():
    keeping = Keeping()
    for seed in range(3):
        scene = Scene(records=60, num_epochs=2, validation=3, checkpoint_steps=4)
        scene.job.keeping = keeping
        disturb(scene, 40, random.Random(seed).choice)
    assert not keeping.forgotten("ServedCoordinator", "ServerGroup", "Round")

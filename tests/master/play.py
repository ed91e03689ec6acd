"""A coordinator with processes that are played by the test, each by the rules."""

from collections import Counter

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
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import read_states, state_messages
from elasticdl_nb.runtime.spec import JobSpec

W0 = ("worker", 0, "0")


class Play:
    """A coordinator and the worker processes it asked for; each plays its part by the rules."""

    def __init__(self, kind="train", records=10, validation=0, initial=(), callbacks=False, **options):
        self.has_callbacks = callbacks
        # The number of each border that was decided, the worker that did, and what it knew of an evaluation.
        self.borders = []
        if kind == "train":
            options.setdefault("model_def", "m")
        else:
            options.setdefault("trained_model", "m")
        if kind == "predict":
            options.setdefault("output", "out")
        options.setdefault("num_minibatches_per_task", 2)
        options.setdefault("data", "f")
        spec = JobSpec.create(kind, minibatch_size=1, **({"validation_data": "v"} if validation else {}), **options)
        self.now = 1.0
        self.job = Twins(spec)
        self.processes = {}
        self.used = Counter()
        self.saved = {}
        self.numbers = 0
        self.damaged = set()
        # Records that kill whoever reads them, which a worker does while it uses the task before.
        self.poison = set()
        self.untestable = set()
        self.committing = []
        self.killed = []
        self.happened(events.Started(tuple(initial)))
        files = [(FileRecords(name, count),) if count else () for name, count in (("f", records), ("v", validation))]
        self.happened(events.DataCounted(*files))

    def happened(self, event):
        self.job.handle(event, self.now)
        self.act()

    def act(self):
        while self.job.actions:
            action = self.job.actions.pop(0)
            match action:
                case Start():
                    self.processes[action.key] = None
                case Kill():
                    self.killed.append(action.key)
                    if self.processes.pop(action.key, self) is not self:
                        self.job.handle(events.Exited(action.key, -9), self.now)
                case Send():
                    self.receive(action.key, action.message)
                case CommitCheckpoint():
                    self.committing.append(action.path)
                case DiscardCheckpoint() | SetCheckpointAside():
                    del self.saved[action.path]

    def commit(self):
        """The checkpoints that are under way are completed."""
        while self.committing:
            path = self.committing.pop(0)
            self.happened(events.CheckpointCommitted(path, path))

    def receive(self, key, message):
        if self.processes.get(key) is None:
            return
        if message.WhichOneof("body") == "welcome":
            path = message.welcome.restore_from
            self.processes[key]["model"] = self.saved[path].copy() if path else Counter()
            self.processes[key]["begins_with"] = path or message.welcome.initial
        elif message.WhichOneof("body") == "task":
            self.processes[key]["tasks"].append(message.task)
        elif message.WhichOneof("body") == "wait_with_checkpoints":
            self.processes[key]["waits"] = message.wait_with_checkpoints.seconds
        else:
            del self.processes[key]
            self.job.handle(events.Exited(key, 0), self.now)

    def join(self, key):
        self.processes[key] = {"tasks": [], "model": Counter()}
        hello = pb.Hello(role=key[0], worker=key[1], incarnation=key[2], pid=1)
        self.happened(events.Greeted(hello))
        assert self.job.belongs(hello)
        if (path := self.processes[key]["begins_with"]) in self.damaged:
            failure = pb.Failure(message=f"{path} is damaged", checkpoint=path)
            self.say(key, worker_failed=pb.WorkerFailed(failure=failure))
            return
        self.say(key, want=pb.Want(tasks=2, callbacks=self.has_callbacks))

    def say(self, key, **body):
        self.happened(events.Said(key, pb.WorkerMessage(**body)))

    def work(self, key):
        held = self.processes[key]["tasks"]
        if self.poison & {record for task in held for r in task.ranges for record in range(r.start, r.end)}:
            self.die(key, -11)
            return None
        task = held.pop(0)
        done = pb.TaskDone(id=task.id, attempt=task.attempt, records=sum(r.end - r.start for r in task.ranges))
        model = self.processes[key]["model"]
        if task.kind == pb.TRAIN:
            model.update((task.epoch, record) for r in task.ranges for record in range(r.start, r.end))
            if self.job.spec.prequential:
                self.test(task, done)
        elif task.kind == pb.EVALUATE and task.summarize:
            done.metrics["count"] = task.states[0].arrays[0].values[0]
        elif task.kind == pb.EVALUATE:
            done.states.extend(state_messages({"count": [[done.records]]}))
        elif task.kind == pb.WINDOW:
            done.metrics.update({name: states[0] for name, (states,) in read_states(task.states).items()})
        elif task.kind == pb.PREDICT:
            self.used.update(record for r in task.ranges for record in range(r.start, r.end))
        elif task.kind == pb.CALLBACKS:
            self.decide(key, task, done)
        else:
            self.result = model
            done.outputs.append("out")
        done.step = sum(model.values())
        losses = [pb.LossPoint(step=done.step, loss=0.5, time=1.0)]
        self.say(key, progress=pb.Progress(activity="training", step=done.step, records=done.step, losses=losses))
        if task.kind == pb.TRAIN:
            done.so_far.CopyFrom(
                pb.EpochEnded(epoch=task.epoch, step=done.step, records=done.records, logs={"loss": 0.5})
            )
        self.say(key, task_done=done)
        return task

    def test(self, task, done):
        """All of a task's records but those in `untestable` were predicted; which ones, the sum of 2**record says."""
        records = [record for r in task.ranges for record in range(r.start, r.end)]
        tested = [record for record in records if record not in self.untestable]
        done.tested = len(tested)
        done.states.extend(state_messages({"which": [[sum(2.0**record for record in tested)]]}))

    def decide(self, key, task, done):
        """The callbacks are called: they halve the learning rate, and change the model in the end."""
        border = task.border
        self.borders.append((border.number, key[1], dict(border.evaluation)))
        done.decision.CopyFrom(pb.Decision(
            learning_rate=0.5**border.number, over=border.last, changed=border.last, records=border.number and 1,
            logs={"loss": 0.5},
        ))  # fmt: skip

    def checkpoint(self, key, *, commit=True):
        model = self.processes[key]["model"]
        self.numbers += 1
        name = f"checkpoint {self.numbers}"
        self.saved[name] = model.copy()
        self.say(key, checkpoint_ready=pb.CheckpointReady(step=sum(model.values()), path=name))
        if commit:
            self.commit()

    def die(self, key, code=-9):
        del self.processes[key]
        self.happened(events.Exited(key, code, "last words"))

    def run(self):
        kinds = []
        for _ in range(10_000):
            self.commit()
            if self.job.is_over:
                return kinds
            for key, process in list(self.processes.items()):
                if process is None:
                    self.join(key)
                elif process["tasks"] and key in self.processes:
                    task = self.work(key)
                    kinds += [task.kind] if task else []
        raise AssertionError("the job does not end")


def every_record(epochs, records):
    return {(epoch, record): 1 for epoch in range(epochs) for record in range(records)}


def disturb(play, times, choose):
    """Let anything happen so many times, as `choose` chooses: work, checkpoints, deaths, another master."""
    for _ in range(times):
        if play.job.is_over:
            break
        (key, process), *_ = list(play.processes.items())
        if process is None:
            play.join(key)
            continue
        event = choose(["work", "work", "work", "checkpoint", "commit", "damage", "die", "silent", "tick", "master"])
        if event == "work" and process["tasks"]:
            play.work(key)
            if key not in play.processes:
                continue
        elif event == "checkpoint":
            play.checkpoint(key, commit=choose([True, False]))
        elif event == "commit":
            play.commit()
        elif event == "damage":
            play.damaged |= {choose(sorted(play.saved))} if play.saved else set()
        elif event == "die":
            play.die(key)
        elif event in ("silent", "tick"):
            play.now += 1000.0 if event == "silent" else 1.0
            play.happened(events.Ticked())
        elif event == "master":
            if choose([True, False]):  # and the worker with it
                del play.processes[key]
            play.committing.clear()
            play.job.another_master()
            play.happened(events.Recovered(tuple(play.processes)))

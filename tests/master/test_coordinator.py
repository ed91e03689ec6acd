"""The coordinator with workers that are played by the test: joins, deaths, results and checkpoints in any order."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.actions import CommitCheckpoint, Kill, Send, Start
from elasticdl_nb.runtime.master.coordinator import Coordinator
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.states import state_messages
from elasticdl_nb.runtime.spec import JobSpec

W0 = ("worker", 0, "0")


class Play:
    """A coordinator and the worker processes it asked for; each plays its part by the rules."""

    def __init__(self, kind="train", records=10, validation=0, **options):
        if kind == "train":
            options.setdefault("model_def", "m")
        else:
            options.setdefault("trained_model", "m")
        if kind == "predict":
            options.setdefault("output", "out")
        options.setdefault("num_minibatches_per_task", 2)
        spec = JobSpec.create(
            kind, data="f", minibatch_size=1, **({"validation_data": "v"} if validation else {}), **options
        )
        self.now = 1.0
        self.job = Coordinator(spec, 1.0)
        self.processes = {}
        self.used = Counter()
        self.saved = {}
        self.killed = []
        self.job.start(1.0)
        self.act()
        self.job.data_counted(
            [FileRecords("f", records)], [FileRecords("v", validation)] if validation else [], self.now
        )
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
                        self.job.exited(action.key, -9, "", self.now)
                case Send():
                    self.receive(action.key, action.message)
                case CommitCheckpoint():
                    self.job.checkpoint_committed(action.path, action.path, self.now)

    def receive(self, key, message):
        if self.processes.get(key) is None:
            return
        if message.WhichOneof("body") == "welcome":
            model = self.saved[message.welcome.restore_from] if message.welcome.restore_from else Counter()
            self.processes[key]["model"] = model.copy()
        elif message.WhichOneof("body") == "task":
            self.processes[key]["tasks"].append(message.task)
        else:
            del self.processes[key]
            self.job.exited(key, 0, "", self.now)

    def join(self, key):
        self.processes[key] = {"tasks": [], "model": Counter()}
        assert self.job.hello(pb.Hello(role=key[0], worker=key[1], incarnation=key[2], pid=1), self.now)
        self.act()
        self.say(key, want=pb.Want(tasks=2))

    def say(self, key, **body):
        self.job.message(key, pb.WorkerMessage(**body), self.now)
        self.act()

    def work(self, key):
        task = self.processes[key]["tasks"].pop(0)
        done = pb.TaskDone(id=task.id, attempt=task.attempt, records=sum(r.end - r.start for r in task.ranges))
        model = self.processes[key]["model"]
        if task.kind == pb.TRAIN:
            model.update((task.epoch, record) for r in task.ranges for record in range(r.start, r.end))
        elif task.kind == pb.EVALUATE and task.summarize:
            done.metrics["count"] = task.states[0].arrays[0].values[0]
        elif task.kind == pb.EVALUATE:
            done.states.extend(state_messages({"count": [[done.records]]}))
        elif task.kind == pb.PREDICT:
            self.used.update(record for r in task.ranges for record in range(r.start, r.end))
        else:
            self.result = model
            done.outputs.append("out")
        done.step = sum(model.values())
        self.say(key, task_done=done)
        return task

    def checkpoint(self, key):
        model = self.processes[key]["model"]
        name = f"checkpoint {len(self.saved)}"
        self.saved[name] = model.copy()
        self.say(key, checkpoint_ready=pb.CheckpointReady(step=sum(model.values()), path=name))

    def die(self, key, code=-9):
        del self.processes[key]
        self.job.exited(key, code, "last words", self.now)
        self.act()

    def run(self):
        kinds = []
        for _ in range(10_000):
            if self.job.is_over:
                return kinds
            for key, process in list(self.processes.items()):
                if process is None:
                    self.join(key)
                elif process["tasks"] and key in self.processes:
                    kinds.append(self.work(key).kind)
        raise AssertionError("the job does not end")


def every_record(epochs, records):
    return {(epoch, record): 1 for epoch in range(epochs) for record in range(records)}


def test_trains_evaluates_and_finishes():
    play = Play(num_epochs=2, records=5, validation=3)
    kinds = play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert play.result == every_record(2, 5)
    assert kinds[-1] == pb.FINISH
    assert [e.metrics["count"] for e in play.job.picture.evaluations] == [3.0, 3.0], "one evaluation an epoch"
    assert [e.step for e in play.job.picture.evaluations] == [5, 10]
    assert play.job.outputs == ["out"]
    assert not play.processes


def test_evaluates_every_so_many_steps_and_at_the_end():
    play = Play(num_epochs=1, records=10, validation=1, evaluation_steps=4, num_minibatches_per_task=8, shuffle=False)
    play.run()
    assert [e.step for e in play.job.picture.evaluations] == [4, 8, 10]


def test_predicts_every_record_with_several_workers():
    play = Play("predict", records=11, num_workers=3)
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert play.used == dict.fromkeys(range(11), 1)


def test_evaluates_with_several_workers():
    play = Play("evaluate", records=11, num_workers=3)
    play.run()
    assert play.job.metrics == {"count": 11.0}
    assert play.job.outputs == []


def test_the_death_of_the_training_worker_goes_back_to_the_checkpoint():
    play = Play(records=10)
    key = W0
    play.join(key)
    play.work(key)
    play.checkpoint(key)
    play.work(key)
    play.die(key)
    assert play.job.step == 2
    assert "the checkpoint of step 2" in play.job.picture.events[-1].text
    play.run()
    assert play.result == every_record(1, 10)
    assert play.job.workers.members[0].restarts == 1


def test_without_a_checkpoint_training_begins_again():
    play = Play(records=10, validation=2)
    play.join(W0)
    for _ in range(3):
        play.work(W0)
    play.die(W0)
    play.run()
    assert play.result == every_record(1, 10)
    assert len(play.job.picture.evaluations) == 1


def test_a_checkpoint_that_cannot_be_completed_leaves_the_one_before():
    play = Play(records=10)
    play.join(W0)
    play.work(W0)
    play.checkpoint(W0)
    play.work(W0)
    play.job.message(W0, pb.WorkerMessage(checkpoint_ready=pb.CheckpointReady(step=4, path="full disk")), 0.0)
    play.job.actions.clear()
    play.job.checkpoint_failed("full disk", "no space left", 0.0)
    play.die(W0)
    assert play.job.step == 2


def test_a_mistake_in_the_model_ends_the_job_at_once_with_its_message():
    play = Play()
    play.join(W0)
    task = play.processes[W0]["tasks"][0]
    failure = pb.Failure(message="ValueError: shapes", traceback="Traceback …")
    play.say(W0, task_failed=pb.TaskFailed(id=task.id, attempt=task.attempt, failure=failure))
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message == "ValueError: shapes"
    assert play.job.is_over and not play.processes


def test_a_passing_error_is_tried_again_but_not_for_ever():
    play = Play("predict", records=2)
    play.join(W0)
    for attempt in range(1, 5):
        task = play.processes[W0]["tasks"].pop(0)
        assert task.attempt == attempt
        failure = pb.Failure(message="TimeoutError: slow disk", transient=True)
        play.say(W0, task_failed=pb.TaskFailed(id=task.id, attempt=attempt, failure=failure))
    assert play.job.phase == pb.FAILED


def test_workers_killed_from_outside_do_not_end_the_job_but_a_crash_that_repeats_itself_does():
    play = Play(records=4)
    for incarnation in range(10):
        play.join(("worker", 0, str(incarnation)))
        play.die(("worker", 0, str(incarnation)), code=-9)
    assert play.job.phase != pb.FAILED
    for incarnation in range(10, 13):
        play.join(("worker", 0, str(incarnation)))
        play.die(("worker", 0, str(incarnation)), code=1)
    assert play.job.phase == pb.FAILED
    assert "exit code 1" in play.job.failure.message
    assert play.job.failure.traceback == "last words"


def test_a_silent_worker_is_killed_and_replaced():
    play = Play()
    play.join(W0)
    play.now = 100.0
    play.job.tick(play.now)
    play.act()
    assert play.killed == [W0]
    assert play.run() and play.result == every_record(1, 10)


@pytest.mark.parametrize("joined", [True, False])
def test_cancelling_ends_every_process(joined):
    play = Play("predict", num_workers=2)
    if joined:
        play.join(W0)
    play.job.cancel("enough", play.now)
    play.act()
    assert play.job.phase == pb.CANCELLED and play.job.is_over and not play.processes


def test_early_stopping_keeps_what_was_used_and_evaluates_the_final_model():
    play = Play(num_epochs=50, records=4, validation=1)
    play.join(W0)
    play.work(W0)
    play.say(W0, stop_training=pb.StopTraining(reason="a callback"))
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert len(play.job.picture.evaluations) == 1


def test_no_data_is_an_error():
    play = Play(records=0)
    assert play.job.phase == pb.FAILED
    assert "no records" in play.job.failure.message


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_training_uses_every_record_exactly_once_whatever_happens(data):
    records, epochs = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 3))
    play = Play(records=records, num_epochs=epochs, validation=data.draw(st.integers(0, 3)))
    for _ in range(data.draw(st.integers(0, 40))):
        if play.job.is_over:
            break
        (key, process), *_ = list(play.processes.items())
        if process is None:
            play.join(key)
            continue
        event = data.draw(st.sampled_from(["work", "work", "work", "checkpoint", "die", "silent", "tick"]))
        if event == "work" and process["tasks"]:
            play.work(key)
        elif event == "checkpoint":
            play.checkpoint(key)
        elif event == "die":
            play.die(key)
        elif event in ("silent", "tick"):
            play.now += 1000.0 if event == "silent" else 1.0
            play.job.tick(play.now)
            play.act()
    if play.job.phase != pb.FAILED:
        play.run()
    assert play.job.phase == pb.SUCCEEDED or play.job.workers.members[0].kills_in_a_row >= 20
    if play.job.phase == pb.SUCCEEDED:
        assert play.result == every_record(epochs, records)
        assert play.job.queue.records_done["train"] == records * epochs


def test_a_worker_that_joins_when_the_job_is_over_is_sent_away():
    play = Play("predict", records=2, num_workers=2)
    play.join(W0)
    while W0 in play.processes:
        play.work(W0)
    assert play.job.phase == pb.SUCCEEDED and not play.processes

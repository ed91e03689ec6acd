"""The coordinator with workers that are played by the test: joins, deaths, results and checkpoints in any order."""

import itertools
import math
import random

import pytest
import twins
from hypothesis import given, settings
from hypothesis import strategies as st
from play import W0, Play, disturb, every_record
from twins import Keeping, Twins

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.coordinator import Coordinator
from elasticdl_nb.runtime.master.decisions.picture import Mark
from elasticdl_nb.runtime.master.decisions.story import LONGEST, REMEMBERED, IllegalTransitionError
from elasticdl_nb.runtime.protocol import master_pb2 as pb


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
    assert play.job.evaluations.metrics == {"count": 11.0}
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
    ready = pb.CheckpointReady(step=4, path="full disk")
    play.job.handle(events.Said(W0, pb.WorkerMessage(checkpoint_ready=ready)), play.now)
    play.job.actions.clear()
    play.happened(events.CheckpointFailed("full disk", "no space left"))
    play.die(W0)
    assert play.job.step == 2


def test_a_checkpoint_that_is_completed_after_the_worker_died_does_not_count():
    play = Play(records=10)
    play.join(W0)
    play.work(W0)
    play.checkpoint(W0, commit=False)
    play.die(W0)
    play.commit()
    assert not play.saved and play.job.saved.newest is None
    play.run()
    assert play.result == every_record(1, 10)


@pytest.mark.parametrize("damaged", [1, 2, 3])
def test_damaged_checkpoints_are_set_aside_and_the_one_before_counts(damaged):
    play = Play(records=12)
    play.join(W0)
    for _ in range(3):
        play.work(W0)
        play.checkpoint(W0)
    play.damaged = {f"checkpoint {n}" for n in range(4 - damaged, 4)}
    play.die(W0)
    play.run()
    texts = [event.text for event in play.job.picture.events]
    assert play.job.phase == pb.SUCCEEDED and play.result == every_record(1, 12)
    assert sum("is damaged, and set aside: checkpoint" in text for text in texts) == damaged
    where = "the beginning (there is no checkpoint)" if damaged == 3 else f"the checkpoint of step {6 - 2 * damaged}"
    assert any(text.endswith(f"continues from {where}") for text in texts)
    assert play.job.rollbacks == 1 + damaged


def test_a_job_begins_with_the_newest_intact_checkpoint_it_was_given():
    play = Play(records=4, initial=["new", "old"], checkpoint_dir_for_init="d")
    play.damaged = {"new"}
    play.run()
    assert play.job.phase == pb.SUCCEEDED and play.job.saved.beginning == "old"
    assert any("begins with an earlier checkpoint: new is damaged" in e.text for e in play.job.picture.events)


def test_a_job_whose_given_checkpoints_are_all_damaged_fails():
    play = Play(records=4, initial=["new", "old"], checkpoint_dir_for_init="d")
    play.damaged = {"new", "old"}
    play.run()
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message == "checkpoint_dir_for_init: old is damaged"


def test_a_job_that_must_not_begin_starts_no_process():
    play = Play(records=4)
    job = Twins(play.job.spec)
    job.handle(events.Started((), "checkpoint_dir: is used by the job 'a'"), 1.0)
    assert job.is_over and job.phase == pb.FAILED and not job.actions
    assert job.failure.message == "checkpoint_dir: is used by the job 'a'"


def test_a_checkpoint_that_cannot_be_written_is_tried_again_ever_more_rarely_and_training_goes_on():
    play = Play(records=10)
    play.join(W0)
    waits = []
    for _ in range(8):
        play.say(W0, checkpoint_failed=pb.CheckpointFailed(step=1, problem="no space left"))
        waits.append(play.processes[W0]["waits"])
    assert waits == [10, 20, 40, 80, 160, 320, 600, 600]
    assert "no space left; next try in 600 seconds" in play.job.picture.events[-1].text
    play.work(W0)
    play.checkpoint(W0)
    assert play.job.picture.events[-1].text == "checkpoints can be written again"
    play.say(W0, checkpoint_failed=pb.CheckpointFailed(step=1, problem="no space left"))
    assert play.processes[W0]["waits"] == 10
    play.run()
    assert play.result == every_record(1, 10)


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
    for attempt in range(1, 4):
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


def test_a_crash_counts_for_the_task_and_names_it_with_the_likely_cause():
    play = Play(records=20, shuffle=False)
    play.poison = {9}
    play.run()
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message == (
        "worker-0 crashed (SIGSEGV) during a training task, like the 2 process(es) before it, with records 8 to 9 of "
        "f; likely cause: native code that the model or its data uses has a mistake"
    )
    assert play.job.failure.traceback == "last words"
    assert play.job.workers.members[0].restarts == 2


def test_without_retries_a_task_is_convicted_only_once_it_was_alone():
    play = Play(records=20, shuffle=False, max_task_retries=0, skip_failed_tasks=True)
    play.poison = {9}
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert [one.spans for one in play.job.queue.suspects.aside.values()] == [(("f", 8, 10),)]


@pytest.mark.parametrize("kind", ["predict", "evaluate"])
def test_a_task_that_kills_one_worker_after_another_ends_the_job(kind):
    play = Play(kind, records=60, num_workers=4)
    play.poison = {31}
    play.run()
    assert play.job.phase == pb.FAILED
    assert "with records 30 to 31 of f; likely cause" in play.job.failure.message
    assert sum(worker.restarts for worker in play.job.workers) <= 3


def test_a_poisonous_task_is_set_aside_if_that_is_allowed():
    play = Play(records=20, num_epochs=2, skip_failed_tasks=True, max_task_retries=1)
    play.poison = {9}
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    assert play.result == {use: 1 for use in every_record(2, 20) if use[1] not in (8, 9)}
    status = report.update(play.job, play.now, 0.0, Mark(), name="job", pid=1)[0].status
    assert (status.tasks_set_aside, status.records_set_aside, status.records_done) == (2, 4, 36)
    assert [(one.epoch, one.ranges[0].start, one.ranges[0].end) for one in status.set_aside] == [(1, 8, 10), (2, 8, 10)]
    assert all("records 8 to 9 of f" in one.reason for one in status.set_aside)
    assert sum("a task is set aside: worker-0 crashed" in event.text for event in status.events) == 2
    assert status.progress == 1.0


def test_tasks_that_fail_with_an_error_are_set_aside_too_but_not_all_of_them():
    play = Play(records=20, skip_failed_tasks=True)
    play.join(W0)
    play.work(W0)
    for number in range(2):
        task = play.processes[W0]["tasks"].pop(0)
        failed = pb.TaskFailed(id=task.id, attempt=task.attempt, failure=pb.Failure(message=f"ValueError: {number}"))
        play.say(W0, task_failed=failed)
    assert len(play.job.queue.suspects.aside) == 2
    task = play.processes[W0]["tasks"].pop(0)
    failed = pb.TaskFailed(id=task.id, attempt=task.attempt, failure=pb.Failure(message="ValueError: again"))
    play.say(W0, task_failed=failed)
    assert play.job.phase == pb.FAILED and play.job.failure.message == "ValueError: again"


def test_a_job_of_which_every_task_fails_does_not_succeed():
    play = Play(records=4, skip_failed_tasks=True)
    play.poison = set(range(4))
    play.run()
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message.startswith("all tasks failed: worker-0 crashed (SIGSEGV)")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_only_poisonous_tasks_are_set_aside_whatever_is_killed_from_outside(data):
    records, epochs = data.draw(st.integers(4, 20)), data.draw(st.integers(1, 2))
    play = Play(records=records, num_epochs=epochs, skip_failed_tasks=True)
    play.poison = {data.draw(st.integers(0, records - 1))}
    disturb(play, data.draw(st.integers(0, 40)), lambda some: data.draw(st.sampled_from(some)))
    if play.job.phase != pb.FAILED:
        play.run()
    if play.job.phase == pb.FAILED:
        assert play.job.workers.members[0].kills_in_a_row >= 20
        return
    (record,) = play.poison
    lost = {epoch: range(record // 2 * 2, min(record // 2 * 2 + 2, records)) for epoch in range(epochs)}
    assert play.result == {use: 1 for use in every_record(epochs, records) if use[1] not in lost[use[0]]}
    assert len(play.job.queue.suspects.aside) == epochs


def test_a_silent_worker_is_killed_and_replaced():
    play = Play()
    play.join(W0)
    play.now = 100.0
    play.happened(events.Ticked())
    assert play.killed == [W0]
    assert play.run() and play.result == every_record(1, 10)


@pytest.mark.parametrize("joined", [True, False])
def test_cancelling_ends_every_process(joined):
    play = Play("predict", num_workers=2)
    if joined:
        play.join(W0)
    play.happened(events.Cancelled("enough"))
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
    disturb(play, data.draw(st.integers(0, 40)), lambda some: data.draw(st.sampled_from(some)))
    if play.job.phase != pb.FAILED:
        play.run()
    assert play.job.phase == pb.SUCCEEDED or play.job.workers.members[0].kills_in_a_row >= 20
    if play.job.phase == pb.SUCCEEDED:
        assert play.result == every_record(epochs, records)
        assert play.job.queue.records_done["train"] == records * epochs


def test_what_cannot_have_happened_is_an_error_that_tells_the_last_events():
    play = Play("predict", records=2)
    play.join(W0)
    for number in range(100):
        play.say(W0, note=pb.Note(level="info", text=f"{number} " + "x" * 10_000))
    with pytest.raises(IllegalTransitionError, match="task 99, attempt 1: was never handed out") as caught:
        play.say(W0, task_done=pb.TaskDone(id=99, attempt=1))
    (story,) = caught.value.__notes__
    lines = story.splitlines()
    assert len(lines) == REMEMBERED + 1 and max(map(len, lines)) < LONGEST + 30
    assert "task_done" in lines[-1] and "99" in lines[-1] and 'text: "99 xxx' in lines[-2]


@pytest.mark.parametrize(
    "event", [events.Started(), events.Scaled(0), events.Scaled(2), events.CheckpointBegun(1, "p")]
)
def test_events_that_nobody_can_have_asked_for_are_errors(event):
    play = Play()
    with pytest.raises(IllegalTransitionError):
        play.job.handle(event, play.now)


def watched(keeping, *arguments, **options):
    play = Play(*arguments, **options)
    play.job.keeping = keeping
    return play


def live_through_everything(keeping):
    for seed in range(4):
        disturb(watched(keeping, records=30, validation=4, initial=["a", "b"]), 40, random.Random(seed).choice)
    play = watched(keeping, records=4, validation=3)
    play.run()
    disturb(watched(keeping, records=12, validation=4, num_epochs=3, callbacks=True), 40, random.Random(9).choice)
    play = watched(keeping, records=20, prequential=True, prequential_window=4, alarm="which<99")
    play.untestable = {7}
    disturb(play, 60, random.Random(2).choice)
    play = watched(keeping, records=10, skip_failed_tasks=True)
    play.poison = {3}
    play.run()
    play = watched(keeping, "predict", records=40, num_workers=2)
    for index in (0, 1):
        play.join(("worker", index, "0"))
    for _ in range(6):
        play.work(W0)
    play.now += 29.0
    play.happened(events.Ticked())
    while not play.job.queue.shared(play.processes[W0]["tasks"][-1].id):
        play.work(W0)
    play.die(("worker", 1, "0"))
    play.happened(events.Failed(pb.Failure(message="enough")))
    play = watched(keeping, records=0, follow=True, data="kafka://host:1/topic")
    play.happened(events.DataGrew((FileRecords("kafka://host:1/topic/0", 4, 7),)))
    play.join(W0)
    task = play.processes[W0]["tasks"][0]
    last = pb.LastRecord(path="kafka://host:1/topic/0", end=7, offset=6, fingerprint="f", event_time=1000)
    play.say(W0, task_done=pb.TaskDone(id=task.id, attempt=task.attempt, records=1, last=last))


def test_callbacks_decide_between_epochs_and_once():
    play = Play(records=6, validation=2, num_epochs=3, callbacks=True, evaluation_steps=4)
    kinds = play.run()
    assert [number for number, _, _ in play.borders] == [0, 1, 2, 3]
    borders = [place for place, kind in enumerate(kinds) if kind == pb.CALLBACKS]
    # Before the first epoch, at the end of each, and then an evaluation of the model that they have changed at last.
    assert all(pb.TRAIN in kinds[first:second] for first, second in itertools.pairwise(borders))
    assert pb.TRAIN not in kinds[: borders[0]] + kinds[borders[-1] :] and pb.EVALUATE in kinds[borders[-1] :]
    # Evaluations within an epoch do not end it; what is known at its end is the latest one's result.
    assert [seen for _, _, seen in play.borders] == [{}, {"count": 2.0}, {"count": 2.0}, {"count": 2.0}]
    assert [one.epoch for one in play.job.picture.history] == [0, 1, 2]


def test_an_epoch_that_ended_before_an_earlier_one_is_in_the_history():
    play = Play(records=2, num_epochs=3)  # a task for each epoch
    play.join(W0)
    play.work(W0)
    assert [task.epoch for task in play.processes[W0]["tasks"]] == [1, 2]
    play.processes[W0]["tasks"].reverse()
    play.work(W0)
    play.work(W0)
    assert [one.epoch for one in play.job.picture.history] == [0, 1, 2]


def test_every_attribute_is_kept_for_another_master():
    keeping = Keeping()
    live_through_everything(keeping)
    assert not keeping.forgotten()


@pytest.mark.parametrize("value", [0, None, {}])
def test_an_attribute_that_is_not_kept_is_found(value, monkeypatch):
    class Forgetful(Coordinator):
        def __init__(self, spec):
            super().__init__(spec)
            self.new = value

    monkeypatch.setattr(twins, "coordinator_of", Forgetful)
    keeping = Keeping()
    watched(keeping, records=2).run()
    assert "Forgetful.new" in keeping.forgotten()


def test_a_worker_that_joins_when_the_job_is_over_is_sent_away():
    play = Play("predict", records=2, num_workers=2)
    play.join(W0)
    while W0 in play.processes:
        play.work(W0)
    assert play.job.phase == pb.SUCCEEDED and not play.processes


def test_what_was_said_twice_counts_once():
    play = Play("predict", records=2)
    play.join(W0)
    message = pb.WorkerMessage(sequence=7, note=pb.Note(level="info", text="once"))
    for _ in range(2):
        play.happened(events.Said(W0, message))
    assert [event.text for event in play.job.picture.events].count("once") == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_job(value):
    play = Play(records=4)
    play.join(W0)
    play.say(W0, progress=pb.Progress(step=3, losses=[pb.LossPoint(step=2, loss=1), pb.LossPoint(step=3, loss=value)]))
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message.startswith(f"the loss is {value} at step 3: ")
    assert play.job.failure.message.endswith("on_nan=warn goes on all the same")


def test_a_loss_that_is_not_finite_is_told_once_if_that_is_wanted():
    play = Play(records=4, on_nan="warn")
    play.join(W0)
    for step in (1, 2):
        play.say(W0, progress=pb.Progress(step=step, losses=[pb.LossPoint(step=step, loss=math.nan)]))
    play.run()
    assert play.job.phase == pb.SUCCEEDED
    told = [event.text for event in play.job.picture.events if event.level == "warning"]
    assert len(told) == 1 and told[0].startswith("the loss is nan at step 1: ")

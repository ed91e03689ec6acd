"""Data that grows while its job trains, with processes that die: each record counts once, in this job or later."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import W0, Play, every_record
from test_coordinator import disturb as disturb_local
from test_served import Scene, disturb, effects

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.data.topics.names import name_of
from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import CommitCheckpoint
from elasticdl_nb.runtime.master.decisions.story import IllegalTransitionError
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.usedfiles import Used, used_by, used_of_topic, used_up_to

FORGOTTEN = "no checkpoint is left that can be read"


class Growing:
    """Mixed into a play: its data grows. Each record has a number of its own, whatever file it is in."""

    def __init__(self, *arguments, records=0, **options):
        self.given = [FileRecords("f", records)] if records else []
        super().__init__(*arguments, records=records, follow=True, **options)

    def grow(self, *counts, last=False):
        """Files with so many records appear."""
        known = len(self.given)
        for count in counts:
            self.given.append(FileRecords(f"f{len(self.given)}", count, self.total))
        self.happened(events.DataGrew(tuple(self.given[known:]), last))

    @property
    def total(self):
        return sum(one.records for one in self.given)

    def act(self):
        for action in self.job.actions:
            if isinstance(action, CommitCheckpoint):
                self.check(action.state, set(self.records_in(action.path)))
        super().act()

    def check(self, state, trained):
        """A later job that begins with this checkpoint is given what it has not been trained on, and nothing else."""
        stamps = dict.fromkeys((one.path for one in self.given), (1, 2))
        known = self.given[: bool(self.given and self.given[0].path == "f") + state["followed"]["found"]]
        used = Used.from_json(used_by(known, stamps, state, Used()).to_json())
        left = [part for one in self.given for part in used.rest(one)]
        rest = [record for part in left for record in range(part.start, part.start + part.records)]
        assert sorted(rest + [record for _, record in trained]) == list(range(self.total))
        # And one that begins with this job's, and is stopped before it has done anything, leaves the same.
        begun = [part for one in known for part in used.rest(one)]
        nothing = {"queue": {"waiting": []}, "followed": {"next": [begun[0].path, begun[0].start] if begun else None}}
        assert used_by(begun, stamps, nothing, used).to_json() == used.to_json()

    def end(self):
        """The job is stopped, and trains on what is there."""
        if not self.job.stop_problem():
            self.happened(events.StopAsked("enough"))
            self.grow(last=True)
        if not self.job.is_over:
            self.run()


class GrowingScene(Growing, Scene):
    """With parameter servers."""

    def records_in(self, path):
        return next(iter(self.files[path].values()))[0] if path in self.files else ()


class GrowingPlay(Growing, Play):
    """Local."""

    def records_in(self, path):
        return self.saved[path]


URL = "kafka://host:1/topic"


class Topic(Growing):
    """Mixed into a play: its data is a topic. Offsets between two ranges of a partition have no records."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, data=URL, **options)

    def grow(self, *counts, last=False):
        known = len(self.given)
        for count in counts:
            self.given.append(FileRecords(f"{URL}/{len(self.given) % 3}", count, self.total))
        self.happened(events.DataGrew(tuple(self.given[known:]), last))

    def check(self, state, trained):
        used = Used.from_json(used_of_topic(URL, state, Used()).to_json())
        rest = [record for ranges in used.left.values() for start, end in ranges for record in range(start, end)]
        for one in self.given:
            if one.start >= used.offsets.get(name_of(one.path), 0):
                rest += range(one.start, one.start + one.records)
        assert sorted(rest + [record for _, record in trained]) == list(range(self.total))
        first = used_up_to(state)
        assert all(ranges[0][0] == first[f"kafka://host:1/{name}"] for name, ranges in used.left.items())


class TopicScene(Topic, GrowingScene):
    """With parameter servers."""


class TopicPlay(Topic, GrowingPlay):
    """Local."""


def check_the_end(play, result):
    forgot = play.job.phase == pb.FAILED and FORGOTTEN in play.job.failure.message
    assert play.job.phase == pb.SUCCEEDED or (forgot and play.damaged), play.job.failure
    if play.job.phase == pb.SUCCEEDED:
        assert result() == every_record(1, play.total)
        assert play.job.queue.records_done["train"] == play.total == play.job.records_total


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_record_counts_exactly_once_whatever_dies(data):
    kind = data.draw(st.sampled_from([GrowingScene, TopicScene]))
    scene = kind(
        records=data.draw(st.integers(0, 5)) if kind is GrowingScene else 0,
        validation=data.draw(st.integers(0, 2)), checkpoint_steps=4,
        workers=data.draw(st.integers(1, 3)), servers=data.draw(st.integers(1, 2)),
        checkpoint_dir=data.draw(st.sampled_from(["", "d"])),
    )  # fmt: skip
    scene.grow(1)
    for _ in range(data.draw(st.integers(0, 4))):
        disturb(scene, data.draw(st.integers(0, 12)), lambda some: data.draw(st.sampled_from(some)))
        if not scene.job.is_over and not scene.job.failure:
            scene.grow(*data.draw(st.lists(st.integers(1, 7), max_size=3)))
    scene.end()
    check_the_end(scene, lambda: effects(scene))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_local_training_uses_every_record_once(data):
    kind = data.draw(st.sampled_from([GrowingPlay, TopicPlay]))
    records = data.draw(st.integers(0, 5)) if kind is GrowingPlay else 0
    play = kind(records=records, validation=data.draw(st.integers(0, 2)))
    play.grow(1)
    for _ in range(data.draw(st.integers(0, 4))):
        disturb_local(play, data.draw(st.integers(0, 12)), lambda some: data.draw(st.sampled_from(some)))
        if not play.job.is_over and not play.job.failure:
            play.grow(*data.draw(st.lists(st.integers(1, 7), max_size=3)))
    play.end()
    if play.job.workers.members[0].kills_in_a_row < 20:
        check_the_end(play, lambda: play.result)


def test_what_is_shown_while_the_job_waits_for_files_and_when_it_is_told_to_stop():
    play = GrowingPlay(records=4, validation=2)
    play.join(W0)
    while play.processes[W0]["tasks"]:
        play.work(W0)
    status = report._numbers(play.job._original, play.now + 60)
    assert (status.detail, status.records_done, status.records_total) == ("waiting for new files", 4, 4)
    assert status.phase == pb.RUNNING and status.remaining_seconds == -1 and status.num_epochs == 0
    play.grow(3)
    play.happened(events.StopAsked("stopped by its user"))
    play.happened(events.StopAsked("once more"))
    assert report._numbers(play.job._original, play.now).records_total == 7
    play.grow(2, last=True)
    with pytest.raises(IllegalTransitionError):
        play.job.handle(events.DataGrew((), last=True), play.now)
    play.run()
    texts = [event.text for event in play.job.picture.events]
    assert sum("files that are there by now" in text for text in texts) == 1
    assert play.result == every_record(1, 9) and play.job.picture.evaluations[-1].step == 9
    assert play.job.stop_problem() == "it is over"


def test_tasks_that_no_checkpoint_needs_are_forgotten():
    play = GrowingPlay(records=2, keep_checkpoint_max=2)
    play.join(W0)
    for _ in range(60):
        play.grow(4)
        while play.processes[W0]["tasks"]:
            play.work(W0)
        play.checkpoint(W0)
    assert len(play.job.queue.plan.pieces) <= 6
    size = len(play.job.to_message().SerializeToString())
    for _ in range(60):
        play.grow(4)
        while play.processes[W0]["tasks"]:
            play.work(W0)
        play.checkpoint(W0)
    assert len(play.job.to_message().SerializeToString()) < size + 8_000, "its messages and losses, which are bounded"
    play.end()
    assert play.result == every_record(1, play.total)


def test_what_a_topic_had_that_could_not_be_used_is_counted_once_and_told_more_and_more_rarely():
    play = TopicPlay()
    play.join(W0)
    play.grow(*[2] * 30)
    path = f"{URL}/0, offset 1: it has no value"
    while play.processes[W0]["tasks"]:
        task = play.processes[W0]["tasks"].pop(0)
        done = pb.TaskDone(id=task.id, attempt=task.attempt, records=0, malformed=1, example=path, expired=1)
        play.say(W0, task_done=done)
        play.say(W0, task_done=done)
    status = report._numbers(play.job._original, play.now)
    assert (status.records_malformed, status.records_expired) == (30, 30)
    assert (status.records_done, status.records_total) == (0, 0) and status.detail == "waiting for new records"
    texts = [event.text for event in play.job.picture.events]
    assert [text for text in texts if "could not" in text] == [
        f"{count} record(s) could not be used so far; {path}" for count in (1, 10)
    ]
    assert sum("were deleted before they were used, as in kafka://" in text for text in texts) == 2


def test_a_job_that_is_stopped_before_there_was_a_record_fails():
    play = GrowingPlay()
    play.join(W0)
    play.end()
    assert play.job.failure.message == "the job was stopped before there was any record to train on"


def test_a_job_that_follows_nothing_cannot_be_stopped():
    play = Play(records=4)
    assert "only a training with follow" in play.job.stop_problem()


def test_a_callback_that_stops_the_training_does_not_leave_files_unused_in_silence():
    play = GrowingPlay(records=4)
    play.join(W0)
    play.say(W0, stop_training=pb.StopTraining(reason="a callback has stopped it"))
    assert play.job.phase == pb.FAILED
    assert play.job.failure.message.startswith("follow: a callback has stopped it; a training that follows its data")


def test_a_model_with_callbacks_is_refused_before_the_first_task():
    play = GrowingPlay(records=4, callbacks=True)
    play.join(W0)
    assert play.job.failure.message.startswith("follow: the model has callbacks")

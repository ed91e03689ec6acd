"""How far a job on a topic is, and how many of its records came late: the same whatever dies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from play import W0, disturb
from test_growing import FORGOTTEN, URL, TopicPlay

from elasticdl_nb.runtime.master import report
from elasticdl_nb.runtime.master.decisions.learnt import Learnt
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def time_of(offset):
    """The event time of a record: every third has none, because it cannot be used."""
    return None if offset % 3 == 2 else 1_700_000_000_000 + 1000 * offset


def last_of(path, start, end):
    times = [time for offset in range(start, end) if (time := time_of(offset)) is not None]
    return pb.LastRecord(
        path=path, end=end, offset=end - 1, fingerprint=f"{path} {end - 1}", event_time=times[-1] if times else None
    )


class LatePlay(TopicPlay):
    """Every fifth record comes late, and every tenth is passed over."""

    def __init__(self, *arguments, **options):
        self.ranges = {}
        super().__init__(*arguments, **options)

    def receive(self, key, message):
        if message.WhichOneof("body") == "task" and message.task.kind == pb.TRAIN:
            self.ranges[message.task.id] = message.task.ranges
        super().receive(key, message)

    def say(self, key, **body):
        if (done := body.get("task_done")) and done.id in self.ranges:
            (one,) = self.ranges[done.id]
            offsets = range(one.start, one.end)
            done.late = sum(offset % 5 == 0 for offset in offsets)
            done.late_passed = sum(offset % 10 == 0 for offset in offsets)
            done.records -= done.late_passed
            done.late_example = "it came late"
            done.last.CopyFrom(last_of(one.path, one.start, one.end))
        super().say(key, **body)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_late_records_and_event_times_are_the_same_whatever_dies(data):
    play = LatePlay()
    play.grow(1)
    for _ in range(data.draw(st.integers(0, 4))):
        disturb(play, data.draw(st.integers(0, 12)), lambda some: data.draw(st.sampled_from(some)))
        if not play.job.is_over and not play.job.failure:
            play.grow(*data.draw(st.lists(st.integers(1, 7), max_size=3)))
    play.end()
    if play.job.phase == pb.FAILED:
        assert FORGOTTEN in play.job.failure.message or play.job.workers.members[0].kills_in_a_row >= 20
        return
    status = report._numbers(play.job._original, play.now)
    offsets = [offset for one in play.given for offset in range(one.start, one.start + one.records)]
    late, passed = (sum(offset % every == 0 for offset in offsets) for every in (5, 10))
    assert (status.records_late, status.records_late_passed) == (late, passed)
    assert status.records_done == status.records_total == len(offsets) - passed
    found = {one.path: one for one in play.job.queue.learnt.messages()}
    for path in {one.path for one in play.given}:
        of_path = [
            offset for one in play.given if one.path == path for offset in range(one.start, one.start + one.records)
        ]
        times = [time for offset in of_path if (time := time_of(offset)) is not None]
        assert (found[path].end, found[path].offset) == (max(of_path) + 1, max(of_path))
        assert found[path].fingerprint == f"{path} {max(of_path)}"
        assert found[path].HasField("event_time") == bool(times)
        assert not times or found[path].event_time == max(times)
    assert status.event_time == max(time_of(n) or 0 for n in offsets) / 1000


def test_late_records_are_told_more_and_more_rarely():
    play = LatePlay()
    play.join(W0)
    play.grow(*[6] * 10)
    while play.processes[W0]["tasks"]:
        play.work(W0)
    texts = [event.text for event in play.job.picture.events if "late" in event.text]
    assert texts == [f"{n} record(s) so far came late and were passed over; it came late" for n in (1, 10)]


def last(partition, end, event_time=None):
    return pb.LastRecord(path=f"{URL}/{partition}", end=end, offset=end - 1, fingerprint="f", event_time=event_time)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9), st.none() | st.integers(-5000, 10**13)), max_size=12))
def test_only_the_furthest_task_of_a_partition_counts(tasks):
    learnt = Learnt()
    for partition, end, moment in tasks:
        learnt.done(last(partition, end, moment))
        learnt = Learnt.of_snapshot(learnt.snapshot())
    for one in learnt.messages():
        assert one.end == max(end for partition, end, _ in tasks if one.path == f"{URL}/{partition}")
    again = Learnt(learnt.messages())
    assert again.messages() == learnt.messages()
    for partition, end, moment in tasks:
        again.done(last(partition, end, moment))
    assert again.messages() == learnt.messages(), "what is known already changes nothing"


def test_the_lag_is_that_of_the_partition_that_is_the_least_far_of_those_with_records_to_come():
    learnt = Learnt()
    assert learnt.lag({f"{URL}/0": 5}, 100.0, ahead=True) == 0.0 == learnt.newest
    learnt.done(last(0, 10, 70_000))
    learnt.done(last(1, 10, 90_000))
    learnt.done(last(2, 10))
    assert (learnt.oldest, learnt.newest) == (70.0, 90.0)
    ends = {f"{URL}/{n}": 10 for n in range(3)}
    assert learnt.lag(ends, 100.0, ahead=False) == 0.0, "up to date"
    assert learnt.lag(ends, 100.0, ahead=True) == 30.0, "a task in between is not done"
    assert learnt.lag({**ends, f"{URL}/1": 11}, 100.0, ahead=True) == 10.0
    assert learnt.lag({**ends, f"{URL}/1": 11}, 80.0, ahead=True) == pytest.approx(0.001), "clocks differ"
    learnt.done(last(1, 12))
    assert learnt.newest == 90.0, "none of the new records could be used"

"""How far a job is in the time of its events, if a process feeds it with files: the same whatever dies."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_coordinator import disturb
from test_growing import GrowingPlay

from elasticdl_nb.runtime.data.chunks import FileRecords
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.fed import Fed, FedFile
from elasticdl_nb.runtime.protocol import master_pb2 as pb

NOW = 1_700_000_000.0


class FedPlay(GrowingPlay):
    """Record n has taken place n seconds after the first; its files are in a directory."""

    def grow(self, *counts, last=False):
        known = len(self.given)
        for count in counts:
            self.given.append(FileRecords(f"/rows/{len(self.given):03d}", count, self.total))
        self.happened(events.DataGrew(tuple(self.given[known:]), last))

    def written(self, unlisted=0, coming=None):
        """What the process has written: the files, `unlisted` records in one more, and one in none."""
        parts = [FileRecords("/rows/", 0, 0), *self.given]
        parts += [FileRecords("/rows/999", unlisted, self.total)] if unlisted else []
        files = [FedFile("before", 0, None, -1.0)]
        files += [
            FedFile(one.path.removeprefix("/rows/"), one.records, NOW + one.start, NOW + one.start + one.records - 1)
            for one in parts if one.records
        ]  # fmt: skip
        return Fed(files + ([FedFile("", 1, NOW + coming, None)] if coming is not None else []))

    def status(self, fed, *, over=False):
        status = pb.JobStatus(updated_at=NOW + 10_000, finished_at=float(over))
        fed.fill(status, self.job._original.queue.unfinished, self.given[-1].path if self.given else "")
        return status

    def used_records(self):
        """How many records, from the first on, are in no task that waits or is held, nor in the rest of the plan."""
        queue = self.job._original.queue
        left = [span for task in queue.snapshot()["waiting"] for span in task[0]]
        left += queue.rest_of_plan
        return min((start for _, start, _ in left), default=self.total)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_all_events_up_to_the_event_time_are_used_and_the_first_that_is_not_is_the_lag(data):
    play = FedPlay()
    play.grow(1)
    for _ in range(data.draw(st.integers(0, 4))):
        disturb(play, data.draw(st.integers(0, 12)), lambda some: data.draw(st.sampled_from(some)))
        if not play.job.is_over and not play.job.failure:
            play.grow(*data.draw(st.lists(st.integers(1, 7), max_size=3)))
        if play.job._original.queue.has_forgotten:
            return
        unlisted = data.draw(st.integers(0, 2))
        coming = data.draw(st.none() | st.just(play.total + unlisted + 3))
        status, used = play.status(play.written(unlisted, coming)), play.used_records()
        ends = [one.start + one.records for one in play.given]
        reached = max((end for end in ends if end <= used), default=None)
        assert status.event_time == status.event_time_oldest == (-1.0 if reached is None else NOW + reached - 1)
        if reached == play.total and not unlisted:
            assert status.lag_seconds == (0.0 if coming is None else 10_000 - coming)
        else:
            assert status.lag_seconds == 10_000 - (reached or 0), "its file's first event"
        assert not play.status(play.written(), over=True).HasField("lag_seconds")
    play.end()
    if play.job.phase == pb.SUCCEEDED:
        assert play.status(play.written()).event_time == NOW + play.total - 1


def filled(*files, unfinished="", listed="", updated_at=100.0):
    status = pb.JobStatus(updated_at=updated_at)
    Fed(files).fill(status, unfinished, listed)
    return status


def test_what_has_no_time_and_what_is_known_only_in_part():
    begin, first, second = FedFile("1", 0, None, 40.0), FedFile("2", 5, 50.0, 60.0), FedFile("3", 5, 61.0, 70.0)
    assert filled() == pb.JobStatus(updated_at=100.0)
    assert (filled(begin).event_time, filled(begin).lag_seconds) == (40.0, 0.0), "where an earlier job was"
    assert filled(begin, first).lag_seconds == 50.0, "it is not listed yet"
    status = filled(begin, first, second, unfinished="/d/3", listed="/d/3")
    assert (status.event_time, status.lag_seconds) == (60.0, 39.0)
    empty = FedFile("4", 0, 71.0, 75.0)
    assert filled(begin, first, empty, listed="/d/2").event_time == 75.0, "all its rows were left out"
    assert filled(first, FedFile("", 1, 55.0, None), listed="/d/2").lag_seconds == 40.0, "55 is in a file by now"
    assert filled(first, second, listed="/d/3", updated_at=65.0).lag_seconds == 0.0
    assert filled(first, second, listed="/d/2", updated_at=51.0).lag_seconds == pytest.approx(0.001), "clocks differ"
    assert not filled(first, FedFile("", 1, None, None), listed="/d/2").HasField("lag_seconds"), "a year 10000, say"
    assert not filled(FedFile("1", 0, None, None)).HasField("lag_seconds"), "nothing is known"


def test_it_is_read_as_it_was_written():
    fed = Fed((FedFile("a", 1, 0.5, None), FedFile("", 1, None, None)))
    assert Fed.from_json(fed.to_json()) == fed

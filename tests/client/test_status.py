from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticdl_nb.runtime.control.status import (
    elapsed,
    format_count,
    format_duration,
    format_moment,
    format_value,
    is_over,
    latest_metrics,
    merge,
    phase_name,
)
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def losses(*steps: int) -> list[pb.LossPoint]:
    return [pb.LossPoint(step=step, loss=1.0 / (step + 1)) for step in steps]


def test_a_full_update_replaces_everything():
    before = pb.JobStatus(name="a", losses=losses(1, 2), step=7)
    after = merge(before, pb.JobUpdate(full=True, status=pb.JobStatus(name="a", losses=losses(9))))
    assert [point.step for point in after.losses] == [9]
    assert after.step == 0


def test_a_change_replaces_fields_and_appends_curves():
    before = pb.JobStatus(
        name="a", step=7, detail="x", losses=losses(1), evaluations=[pb.Evaluation(step=1)], events=[pb.Event(text="e")]
    )
    update = pb.JobUpdate(status=pb.JobStatus(name="a", step=9, losses=losses(2), evaluations=[pb.Evaluation(step=2)]))
    after = merge(before, update)
    assert (after.step, after.detail) == (9, "")
    assert [point.step for point in after.losses] == [1, 2]
    assert [item.step for item in after.evaluations] == [1, 2]
    assert [event.text for event in after.events] == ["e"]
    assert [point.step for point in before.losses] == [1]


@given(st.lists(st.integers(1, 40), max_size=100))
def test_the_loss_curve_stays_bounded_in_order_and_keeps_its_ends(sizes: list[int]):
    status, step = pb.JobStatus(), 0
    for size in sizes:
        update = pb.JobUpdate(status=pb.JobStatus(losses=losses(*range(step, step + size))))
        status, step = merge(status, update), step + size
    steps = [point.step for point in status.losses]
    assert len(steps) <= 1000
    assert steps == sorted(set(steps))
    if step:
        assert (steps[0], steps[-1]) == (0, step - 1)


def test_events_of_long_ago_are_dropped():
    status = pb.JobStatus()
    for number in range(500):
        status = merge(status, pb.JobUpdate(status=pb.JobStatus(events=[pb.Event(text=str(number))])))
    assert len(status.events) == 200
    assert status.events[-1].text == "499"


@pytest.mark.parametrize("phase", pb.JobPhase.values())
def test_three_phases_are_ends(phase: pb.JobPhase):
    status = pb.JobStatus(phase=phase)
    assert is_over(status) == (phase_name(status) in ("succeeded", "failed", "cancelled"))


def test_latest_metrics_are_those_of_the_last_evaluation():
    evaluations = [pb.Evaluation(metrics={"auc": 0.1}), pb.Evaluation(metrics={"b": 1, "a": 2})]
    assert list(latest_metrics(pb.JobStatus(evaluations=evaluations)).items()) == [("a", 2.0), ("b", 1.0)]
    assert latest_metrics(pb.JobStatus()) == {}


def test_elapsed_ends_with_the_job():
    assert elapsed(pb.JobStatus(), 5) == 0
    assert elapsed(pb.JobStatus(started_at=1), 5) == 4
    assert elapsed(pb.JobStatus(started_at=1, finished_at=3), 5) == 2


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (950, "950"), (9500, "9,500"), (12345, "12.3K"), (99_960, "100K"), (999_600, "1.0M"), (1.2e6, "1.2M"),
     (350e6, "350M"), (2.5e9, "2.5G"), (4e15, "4000T")],
)  # fmt: skip
def test_counts(number: float, text: str):
    assert format_count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "–"), (float("nan"), "–"), (float("inf"), "–"), (0, "0.0s"), (0.42, "0.4s"),
     (12.2, "12s"), (59.7, "1m 00s"), (200, "3m 20s"), (7500, "2h 05m"),
     (3599.9, "1h 00m"), (360_000, "4d 4h")],
)  # fmt: skip
def test_durations(seconds: float, text: str):
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.912345, "0.9123"),
        (123.456, "123.5"),
        (12345.67, "12,345.7"),
        (1e-5, "1.000e-05"),
        (math.nan, "nan"),
    ],
)
def test_values(value: float, text: str):
    assert format_value(value) == text


def test_moments_are_shown_in_utc():
    assert format_moment(1_795_946_400.9) == "2026-11-29 10:00:00Z"
    assert [format_moment(seconds) for seconds in (-1e300, 1e300, 1e12)] == ["–", "–", "–"]

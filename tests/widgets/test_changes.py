"""What is sent when."""

from __future__ import annotations

from itertools import pairwise

from job_samples import running, succeeded

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.changes import Changes
from elasticdl_nb.widgets.render import render_parts


def test_everything_there_is_comes_first() -> None:
    changes = Changes()
    parts = render_parts(running())
    assert changes.update(running(), 10.0) == {name: html for name, html in parts.items() if html}


def test_what_did_not_change_is_not_sent_again() -> None:
    changes = Changes()
    changes.update(running(), 10.0)
    assert changes.update(running(), 20.0) == {}


def test_numbers_come_often_and_charts_seldom() -> None:
    changes = Changes()
    status = running()
    changes.update(status, 0.0)
    sent: dict[str, list[float]] = {}
    for tick in range(1, 41):
        now = tick / 4
        status.records_done += 1000
        status.losses.add(step=status.losses[-1].step + 1, loss=0.3)
        status.instances[3].tasks_done += 1
        for name in changes.update(status, now):
            sent.setdefault(name, []).append(now)
    assert len(sent["head"]) == 20
    assert all(after - before >= 2 for before, after in pairwise([0.0, *sent["loss"]]))
    assert all(after - before >= 2 for before, after in pairwise([0.0, *sent["instances"]]))
    assert set(sent) == {"head", "loss", "instances"}


def test_what_was_held_back_is_due_later_and_sent_then() -> None:
    changes = Changes()
    status = running()
    changes.update(status, 0.0)
    status.losses.add(step=10_000, loss=0.1)
    assert "loss" not in changes.update(status, 0.5)
    assert changes.next_due() == 1.0
    changes.update(status, 1.0)
    assert changes.next_due() == 2.0
    assert list(changes.update(status, 2.0)) == ["loss"]


def test_a_first_chart_does_not_wait() -> None:
    changes = Changes()
    status = pb.JobStatus(name="j", phase=pb.RUNNING)
    changes.update(status, 0.0)
    status.losses.add(step=1, loss=0.5)
    assert "loss" in changes.update(status, 0.3)


def test_the_end_is_sent_whole_and_at_once() -> None:
    changes = Changes()
    changes.update(running(), 0.0)
    sent = changes.update(succeeded(), 0.01)
    assert {"head", "ending", "instances"} <= set(sent)
    assert changes.next_due() is None


def test_what_vanished_is_sent_as_nothing() -> None:
    changes = Changes()
    status = running()
    changes.update(status, 0.0)
    del status.events[:]
    assert changes.update(status, 5.0) == {"messages": ""}


def test_a_busy_job_stays_below_ten_kilobytes_a_second() -> None:
    changes = Changes()
    status = running(workers=8)
    changes.update(status, 0.0)
    size = 0
    for tick in range(1, 81):
        status.records_done += 3_000
        status.step += 7
        status.updated_at += 0.25
        for point in status.losses:
            point.loss *= 1.001
        for instance in status.instances:
            instance.records_done += 500
            instance.records_per_second += 1
        size += sum(len(html.encode()) for html in changes.update(status, tick / 4).values())
    assert size / 20 < 7_000

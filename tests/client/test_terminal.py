from __future__ import annotations

import io
import warnings

from rich.console import Console

from elasticdl_nb.job import display
from elasticdl_nb.job.terminal import PlainLines, progress_for, render
from elasticdl_nb.runtime.protocol import master_pb2 as pb


def running(progress: float, **fields: object) -> pb.JobStatus:
    return pb.JobStatus(
        name="iris", kind="train", phase=pb.RUNNING, progress=progress, remaining_seconds=200, epoch=1, num_epochs=2,
        records_done=int(progress * 1e6), records_total=1_000_000, records_per_second=34_500, step=1234,
        started_at=1000, losses=[pb.LossPoint(step=1, loss=0.34567)], **fields,
    )  # fmt: skip


def evaluation(step: int) -> pb.Evaluation:
    return pb.Evaluation(step=step, metrics={"auc": 0.5, "accuracy": 0.91})


def drawn(status: pb.JobStatus, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(render(status, 1100.0))
    return capture.get()


def test_the_picture_holds_all_that_matters():
    text = drawn(running(0.45, evaluations=[evaluation(1200)]))
    for part in ("iris", "running", "epoch 1 of 2", "45%", "450K of 1.0M records", "34.5K records/s", "3m 20s left",
                 "step 1,234", "loss 0.3457", "accuracy 0.91, auc 0.5 (evaluated at step 1,200)"):  # fmt: skip
        assert part in text


def test_the_picture_says_how_far_a_job_is_behind_its_topic():
    status = running(0.45, lag_seconds=75, records_late=12, records_behind=100_000)
    assert "100K to come, 1m 15s behind, 12 late" in " ".join(drawn(status, 200).split())
    status.lag_seconds = 0
    assert "up to date" in drawn(status, 200)
    status.ClearField("lag_seconds")
    assert "up to date" not in drawn(status, 200)


def test_a_job_that_only_starts_can_be_drawn():
    assert "starting" in drawn(pb.JobStatus(name="iris", remaining_seconds=-1))
    assert drawn(running(0.5), width=20)


def test_lines_tell_milestones_only():
    lines = PlainLines()
    assert lines.feed(running(0.0), now=0) == ["train job iris"]
    assert lines.feed(running(0.05), now=1) == []
    (line,) = lines.feed(running(0.11), now=2)
    assert line == ("11%, 110K of 1.0M records, 34.5K records/s, 3m 20s left, epoch 1 of 2, loss 0.3457")
    assert lines.feed(running(0.12), now=3) == []
    assert len(lines.feed(running(0.13), now=12.5)) == 1


def test_every_evaluation_and_warning_is_told_once():
    lines = PlainLines()
    lines.feed(running(0.0), now=0)
    event = pb.Event(time=5, level="warning", source="worker-0", text="lost")
    status = running(0.01, evaluations=[evaluation(10)], events=[event, pb.Event(time=6, level="info", text="no")])
    expected = ["warning: worker-0: lost", "evaluation at step 10: accuracy 0.91, auc 0.5"]
    assert lines.feed(status, now=1) == expected
    assert lines.feed(status, now=2) == []


def test_the_end_is_told_once_and_its_reason_left_to_others():
    lines = PlainLines()
    event = pb.Event(time=5, level="error", source="master", text="loss is NaN")
    status = running(0.5, finished_at=1060, events=[event])
    status.phase, status.failure.message = pb.FAILED, "loss is NaN"
    assert lines.feed(status, now=0)[1:] == ["failed after 1m 00s"]
    assert lines.feed(status, now=1) == []


def test_without_a_terminal_progress_is_shown_only_on_demand(capsys):
    with progress_for(None) as show:
        show(running(0.1))
    assert capsys.readouterr().err == ""
    with progress_for(True) as show:
        show(running(0.1))
    captured = capsys.readouterr()
    assert captured.err.startswith("train job iris\n")
    assert captured.out == ""


def test_notes_in_programs_show_no_source() -> None:
    ours, before = display.__file__, warnings.formatwarning
    with display.readable_notes():
        assert warnings.formatwarning("age: 3 missing", UserWarning, ours, 1) == "Note: age: 3 missing\n"
        assert "somebody's.py:1: UserWarning: text" in warnings.formatwarning("text", UserWarning, "somebody's.py", 1)
        assert "DeprecationWarning" in warnings.formatwarning("text", DeprecationWarning, ours, 1)
    assert warnings.formatwarning is before

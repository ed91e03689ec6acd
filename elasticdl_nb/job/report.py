"""A job's summary as plain text, and the command to use its result."""

from __future__ import annotations

import shlex
import time
from datetime import datetime

from elasticdl_nb.runtime.control.status import (
    elapsed,
    format_count,
    format_duration,
    format_evaluation,
    format_lag,
    format_moment,
    format_value,
    format_window,
    is_over,
    phase_name,
)
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def text_report(spec: JobSpec, status: pb.JobStatus, folder: JobFolder) -> str:
    """Return everything worth knowing about a job, one subject per line."""
    facts = [
        ("state", _state(status)),
        ("model", spec.model_def or spec.trained_model),
        ("data", ", ".join(spec.data)),
        ("records", _records(status)),
        ("event time", _event_time(status)),
        ("of the topic", _of_topic(status)),
        ("set aside", _set_aside(status)),
        ("loss", _loss(status)),
        *((f"tested, then learnt, to step {item.step}", format_window(item)) for item in status.windows[-5:]),
        ("untested", f"{status.records_untested:,} record(s)" if status.records_untested else ""),
        *((_evaluation_name(item), format_evaluation(item)) for item in status.evaluations[-5:]),
        ("failure", status.failure.message),
        *((f"{item.level}, {item.source}", item.text) for item in status.events if item.level != "info"),
        ("output", ", ".join(status.outputs) or spec.output),
        ("to go on", _way_on(spec, status, folder)),
        ("logs", str(folder.logs)),
    ]  # fmt: skip
    return f"{spec.kind} job {folder.name}\n" + columns([(subject, text) for subject, text in facts if text])


def columns(facts: list[tuple[str, str]]) -> str:
    """Return one indented line per (subject, text), with the texts aligned."""
    width = max((len(subject) for subject, _ in facts), default=0)
    return "\n".join(f"  {subject:<{width}}  {text}".replace("\n", "\n" + " " * (width + 4)) for subject, text in facts)


def _evaluation_name(evaluation: pb.Evaluation) -> str:
    return f"evaluation at step {evaluation.step}" if evaluation.step else "evaluation"


def _state(status: pb.JobStatus) -> str:
    text = phase_name(status)
    if not is_over(status):
        text += f", {status.progress:.0%} done"
    if status.detail:
        text += f" ({status.detail})"
    if status.started_at:
        started = datetime.fromtimestamp(status.started_at).strftime("%Y-%m-%d %H:%M:%S")
        text += f"; started {started}, ran {format_duration(elapsed(status, time.time()))}"
    return text


def _records(status: pb.JobStatus) -> str:
    if not status.records_total:
        return ""
    text = f"{format_count(status.records_done)} of {format_count(status.records_total)}"
    if status.num_epochs > 1:
        text += f", epoch {status.epoch} of {status.num_epochs}"
    if status.records_per_second:
        text += f", {format_count(status.records_per_second)} a second"
    return text


def _event_time(status: pb.JobStatus) -> str:
    """Say up to when events were learnt."""
    if not status.event_time:
        return ""
    text = format_moment(status.event_time)
    if status.event_time_oldest < status.event_time:
        text += f", in the partition that is the least far {format_moment(status.event_time_oldest)}"
    return f"{text}; {lag}" if (lag := format_lag(status)) else text


def _of_topic(status: pb.JobStatus) -> str:
    """Count the records of a topic that could not be used, were deleted, or came late."""
    used = "passed over" if status.records_late_passed else "trained on"
    counts = [
        (status.records_malformed, "could not be used"), (status.records_expired, "deleted before they were used"),
        (status.records_late, f"late, {used}"),
    ]  # fmt: skip
    return ", ".join(f"{format_count(count)} {what}" for count, what in counts if count)


def _set_aside(status: pb.JobStatus) -> str:
    """Say which tasks were set aside, and why."""
    if not status.tasks_set_aside:
        return ""
    tasks, records = format_count(status.tasks_set_aside), format_count(status.records_set_aside)
    more = status.tasks_set_aside - len(status.set_aside)
    return "\n".join([
        f"{tasks} task(s), with {records} record(s) that were not used:",
        *(f"epoch {task.epoch}: {task.reason}" for task in status.set_aside),
        *([f"and {more:,} more"] if more else []),
    ])  # fmt: skip


def _loss(status: pb.JobStatus) -> str:
    if not status.losses:
        return ""
    first, last = status.losses[0], status.losses[-1]
    return f"{format_value(first.loss)} at step {first.step} → {format_value(last.loss)} at step {last.step}"


def _way_on(spec: JobSpec, status: pb.JobStatus, folder: JobFolder) -> str:
    """Say how another job goes on from the last checkpoint of one that was stopped or failed."""
    if status.phase not in (pb.CANCELLED, pb.FAILED) or status.checkpoint_step <= 0:
        return ""
    directory = spec.checkpoint_dir or str(folder.checkpoints)
    step = f"{status.checkpoint_step:,}"
    return f"--checkpoint_dir_for_init={shlex.quote(directory)} begins with the checkpoint of step {step}"


def predict_command(spec: JobSpec) -> str:
    """Return the command that predicts with the model a training job wrote; empty if it wrote none."""
    if spec.kind != "train" or not spec.output:
        return ""
    data = shlex.quote((spec.validation_data or spec.data)[0])
    return f"elasticdl predict --trained_model={shlex.quote(spec.output)} --data={data} --output=predictions.parquet"

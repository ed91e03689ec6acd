"""What the commands print when they end."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from typing import Any

import elasticdl_nb
from elasticdl_nb import runtime
from elasticdl_nb.job import Job
from elasticdl_nb.job.report import columns, predict_command
from elasticdl_nb.runtime.control.status import (
    elapsed,
    format_count,
    format_duration,
    format_value,
    latest_metrics,
    phase_name,
)
from elasticdl_nb.runtime.protocol import master_pb2 as pb

# Four spaces are AutoGraph's.
_FRAME = re.compile(r' {2,4}File "(?P<file>[^"]+)", line \d+')
_INSTALLED = re.compile(r"/site-packages/|/lib/python3[^/]*/|/__autograph_generated_file|^<")
_OUR_OWN = tuple(os.path.dirname(os.path.abspath(package.__file__ or "")) for package in (elasticdl_nb, runtime))


def say(text: str) -> None:
    """Print to stdout."""
    print(text, flush=True)  # noqa: T201


def tell(text: str) -> None:
    """Print to stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def as_json(job: Job, status: pb.JobStatus) -> dict[str, Any]:
    """Return what programs need to know about a job."""
    error = status.failure.message or status.detail if status.phase in (pb.FAILED, pb.CANCELLED) else ""
    return {
        "name": job.name,
        "kind": status.kind,
        "phase": phase_name(status),
        "progress": round(status.progress, 4),
        "metrics": latest_metrics(status),
        "output": job.output,
        "outputs": list(status.outputs),
        "records": status.records_done,
        "steps": status.step,
        "seconds": round(elapsed(status, status.updated_at), 3),
        "started_at": status.started_at,
        "error": error or None,
    }


def say_json(values: Any) -> None:
    """Print one line of JSON to stdout; values that JSON does not have, such as NaN, become null."""
    say(json.dumps(_plain(values)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def success(job: Job, status: pb.JobStatus) -> str:
    """Return what users need to know after a job has succeeded."""
    headline = f"{status.kind} job {job.name} succeeded in {format_duration(elapsed(status, status.updated_at))}"
    if status.records_done:
        headline += f", {format_count(status.records_done)} records"
    values = [(name, format_value(value)) for name, value in latest_metrics(status).items()]
    where = {"train": "Trained model", "predict": "Predictions"}.get(status.kind, "Output")
    spec = job.spec
    facts = [
        (where, spec.output),
        ("Predict with", predict_command(spec)),
        ("TensorBoard", f"tensorboard --logdir {job.folder.tensorboard}" if job.folder.tensorboard.exists() else ""),
        ("Logs", str(job.folder.logs)),
    ]
    parts = [headline, columns(values), columns([(subject, text) for subject, text in facts if text])]
    return "\n".join(part for part in parts if part)


def failure(job: Job, status: pb.JobStatus, whole_traceback: bool) -> str:
    """Return what users need to know after a job has failed."""
    traceback = status.failure.traceback if whole_traceback else users_part(status.failure.traceback)
    parts = [
        f"job {job.name} failed: {status.failure.message or status.detail or 'no reason given'}",
        traceback.rstrip(),
        f"Logs: {job.folder.logs}",
    ]
    return "\n".join(part for part in parts if part)


def users_part(traceback: str) -> str:
    """Return the frames of a traceback that are in the user's own files, each once; empty if there are none."""
    frames: dict[str, None] = {}
    lines: list[str] = []
    for line in [*traceback.splitlines(), ""]:
        match = _FRAME.match(line)
        if lines and (match or not line.startswith("    ")):
            frames["\n".join(lines)] = None
            lines = []
        if match and not _INSTALLED.search(match["file"]) and not match["file"].startswith(_OUR_OWN):
            lines = [line.strip().removesuffix("  *")]
        elif lines:
            lines.append(f"  {line.strip()}")
    return textwrap.indent("\n".join(frames), "  ")

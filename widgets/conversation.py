"""What a live view on a notebook's page and the Jupyter server say to each other: decisions without I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.changes import Changes
from elasticdl_nb.widgets.format import plain, safe
from elasticdl_nb.widgets.liveform import PARTS, loss_plot
from elasticdl_nb.widgets.theme import STYLE

LOG_LINES = 100
LOG_CHARACTERS = 8000
MOST_WORKERS = 10_000

_GONE = ("finished", "failed", "stopped")


@dataclass(frozen=True, slots=True)
class Stop:
    """The page asks for the end of the job."""


@dataclass(frozen=True, slots=True)
class Scale:
    """The page asks for this many workers."""

    workers: int


@dataclass(frozen=True, slots=True)
class Scaled:
    """The page wants the loss on a logarithmic scale, or on a linear one."""

    logarithmic: bool


@dataclass(frozen=True, slots=True)
class Logs:
    """The page shows the log of a process, or of all of them: (None, None)."""

    role: str | None
    index: int | None


@dataclass(frozen=True, slots=True)
class NoLogs:
    """The page no longer shows logs."""


Request = Stop | Scale | Scaled | Logs | NoLogs


def understood(message: object) -> Request:
    """Return what a page asks for; raise ValueError for anything that no page of ours would send."""
    match message:
        case {"ask": "stop"}:
            return Stop()
        case {"ask": "scale", "workers": int(workers)} if 1 <= workers <= MOST_WORKERS:
            return Scale(workers)
        case {"ask": "axis", "log": bool(logarithmic)}:
            return Scaled(logarithmic)
        case {"ask": "logs", "process": str(process)}:
            return _logs_of(process)
        case {"ask": "no logs"}:
            return NoLogs()
    raise ValueError("no such request")


def _logs_of(process: str) -> Logs:
    role, _, index = process.rpartition("-")
    if role in ("worker", "ps") and index.isdecimal():
        return Logs(role, int(index))
    if process not in ("", "master"):
        raise ValueError("no such process")
    return Logs(process or None, None)


class Conversation:
    """What a page has been told. `stopping` and `scaling` say that a request of its is under way."""

    def __init__(self) -> None:
        self._changes = Changes()
        self._state: dict[str, Any] = {}
        self.stopping = False
        self.scaling = 0

    def beginning(self) -> dict[str, Any]:
        """Return the first message."""
        return {"begin": {"style": STYLE, "parts": list(PARTS)}}

    def use_scale(self, logarithmic: bool) -> None:
        """Draw the loss on this scale from now on."""
        self._changes.use_scale(logarithmic)

    def news(self, status: JobStatus, now: float) -> dict[str, Any]:
        """Return what is new at the time `now` (seconds of a monotonic clock); empty if nothing is."""
        news: dict[str, Any] = {}
        if parts := self._changes.update(status, now):
            news["parts"] = parts
        state = {
            "can_scale": can_scale(status), "workers": workers_wanted(status), "settled": self.scaling == 0,
            "processes": [name for one in status.instances if (name := _process(one.role, one.index))],
            "stopping": self.stopping, "stakes": stakes(status), "spoken": spoken(status),
            "has_loss": bool(status.losses), "log": _is_logarithmic(status, self._changes.logarithmic),
        }  # fmt: skip
        if state != self._state:
            news["state"] = self._state = state
        if is_over(status):
            news["over"] = True
        return news


def _is_logarithmic(status: JobStatus, wanted: bool | None) -> bool:
    drawn = loss_plot(status, wanted)
    return drawn is not None and drawn.logarithmic


def _process(role: str, index: int) -> str:
    return "master" if role == "master" else f"{role}-{index}" if role in ("worker", "ps") else ""


def stakes(status: JobStatus) -> str:
    """Return what stopping a job costs, and how to go on afterwards."""
    if status.kind not in ("", "train"):
        return "What it has not written yet is lost."
    if status.checkpoint_step > 0:
        return f"Another job can go on from its checkpoint of step {status.checkpoint_step:,}."
    return "It has no checkpoint yet: what it has learned is lost."


def spoken(status: JobStatus) -> str:
    """Return what a screen reader says of the job's progress: rarely something new."""
    head = summary.head(status)
    tenth = int(head.progress * 10) * 10
    return f"{head.name}: {head.phase.text}" + (f", {tenth}%" if tenth and not head.over else "")


def workers_wanted(status: JobStatus) -> int:
    """Return how many workers the job should have."""
    return status.num_workers or sum(one.role == "worker" and one.state not in _GONE for one in status.instances)


def can_scale(status: JobStatus) -> bool:
    """Whether the job's number of workers can change, which it cannot for training in one process."""
    return status.kind in ("evaluate", "predict") or status.distribution_strategy not in ("", "Local")


def log_pane(text: str) -> str:
    """Return the end of a log as HTML."""
    return f'<div class="edl-tail" tabindex="0"><pre>{safe(log_end(text)) or "nothing yet"}</pre></div>'


def log_end(text: str) -> str:
    """Return the end of a log: at most `LOG_LINES` lines and `LOG_CHARACTERS` printable characters."""
    lines = plain(text[-4 * LOG_CHARACTERS :]).splitlines()[-LOG_LINES:]
    kept = "\n".join(lines)
    return kept if len(kept) <= LOG_CHARACTERS else "…" + kept[1 - LOG_CHARACTERS :]

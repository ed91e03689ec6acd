"""What watchers see: the loss curve, evaluations and messages so far, kept within bounds however long the job runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from elasticdl_nb.runtime.protocol import journal_pb2 as journal
from elasticdl_nb.runtime.protocol import master_pb2 as pb

MAX_LOSSES = 1000
MAX_EVALUATIONS = 1000
MAX_EVENTS = 200
MAX_WINDOWS = 500
MAX_TEXT = 4000
"""Characters of a message."""


@dataclass(frozen=True)
class Mark:
    """How much of a picture a watcher has received."""

    revision: int = -1
    losses: int = 0
    evaluations: int = 0
    events: int = 0
    history: int = 0
    windows: int = 0


@dataclass
class Picture:
    """The growing parts of a job's status. `revision` changes whenever something other than an addition happens."""

    revision: int = 0
    losses: list[pb.LossPoint] = field(default_factory=list)
    evaluations: list[pb.Evaluation] = field(default_factory=list)
    events: list[pb.Event] = field(default_factory=list)
    history: list[pb.EpochEnded] = field(default_factory=list)
    windows: list[pb.Window] = field(default_factory=list)

    def add_losses(self, points: Iterable[pb.LossPoint]) -> None:
        """Lengthen the loss curve; when it has grown too long, neighbours are merged into their mean."""
        self.losses.extend(points)
        if len(self.losses) > MAX_LOSSES:
            pairs = zip(self.losses[::2], self.losses[1::2], strict=False)
            last = self.losses[len(self.losses) // 2 * 2 :]
            self.losses = [_mean(a, b) for a, b in pairs] + last
            self.revision += 1

    def add_evaluation(self, evaluation: pb.Evaluation) -> None:
        """Add an evaluation's result; when there are too many, every other one is forgotten, but not the latest."""
        self.evaluations.append(evaluation)
        if len(self.evaluations) > MAX_EVALUATIONS:
            self.evaluations = self.evaluations[-1::-2][::-1]
            self.revision += 1

    def add_window(self, window: pb.Window) -> None:
        """Add a window of tested records, in its place: values may come late, or again after the job has gone back.

        When there are too many windows, every other one is forgotten, but not the latest.
        """
        before = [one for one in self.windows if one.number < window.number]
        after = [one for one in self.windows if one.number > window.number]
        self.revision += len(before) != len(self.windows)
        self.windows = [*before, window, *after]
        if len(self.windows) > MAX_WINDOWS:
            self.windows = self.windows[-1::-2][::-1]
            self.revision += 1

    def set_epoch(self, ended: pb.EpochEnded) -> None:
        """Add an epoch, in place of what was said of it before.

        When there are too many epochs, every other one is forgotten, but not the latest.
        """
        if ended in self.history:
            return
        before = [one for one in self.history if one.epoch < ended.epoch]
        after = [one for one in self.history if one.epoch > ended.epoch]
        self.revision += len(before) != len(self.history)
        self.history = [*before, ended, *after]
        if len(self.history) > MAX_EVALUATIONS:
            self.history = self.history[-1::-2][::-1]
            self.revision += 1

    def add_event(self, date: float, level: str, source: str, text: str, mark: str = "") -> None:
        """Add a message to be shown to users; the oldest are dropped. `mark` is that of `pb.Event`."""
        if len(text) > MAX_TEXT:
            text = f"{text[:MAX_TEXT]} … ({len(text):,} characters in all)"
        self.events.append(pb.Event(time=date, level=level, source=source, text=text, mark=mark))
        if len(self.events) > MAX_EVENTS:
            del self.events[: MAX_EVENTS // 2]
            self.revision += 1

    def roll_back(self, step: int, windows: int = 0) -> None:
        """Forget what happened after this step, and after so many windows, because it will happen again."""
        self.windows = [window for window in self.windows if window.number <= windows]
        self.losses = [point for point in self.losses if point.step <= step]
        self.evaluations = [evaluation for evaluation in self.evaluations if evaluation.step <= step]
        self.history = [ended for ended in self.history if ended.step <= step]
        self.revision += 1

    def fill(self, status: pb.JobStatus, mark: Mark) -> tuple[bool, Mark]:
        """Put what came since `mark` into a status, or everything; return whether everything, and the new mark."""
        full = mark.revision != self.revision
        since = Mark() if full else mark
        status.losses.extend(self.losses[since.losses :])
        status.evaluations.extend(self.evaluations[since.evaluations :])
        status.events.extend(self.events[since.events :])
        status.history.extend(self.history[since.history :])
        status.windows.extend(self.windows[since.windows :])
        return full, Mark(
            self.revision, len(self.losses), len(self.evaluations), len(self.events), len(self.history),
            len(self.windows),
        )  # fmt: skip

    def to_message(self) -> journal.Picture:
        """Return everything in the journal's form."""
        return journal.Picture(
            revision=self.revision, losses=self.losses, evaluations=self.evaluations, events=self.events,
            history=self.history, windows=self.windows,
        )  # fmt: skip

    @classmethod
    def from_message(cls, message: journal.Picture) -> Picture:
        """Return the picture from a message made by `to_message`."""
        return cls(
            message.revision, list(message.losses), list(message.evaluations), list(message.events),
            list(message.history), list(message.windows),
        )  # fmt: skip


def _mean(a: pb.LossPoint, b: pb.LossPoint) -> pb.LossPoint:
    return pb.LossPoint(step=b.step, time=b.time, loss=a.loss / 2 + b.loss / 2)  # not finite if one of them is not

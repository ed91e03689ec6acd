"""The progress of building an image: plain objects made from the Docker engine's events, and who listens to them."""

from __future__ import annotations

import contextlib
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from elasticdl_nb.images.recipe import Step
from elasticdl_nb.images.secrets import scrub

_STEP = re.compile(r"Step (\d+)/(\d+) : ")
_BUILT = re.compile(r"Successfully built ([0-9a-f]+)")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_KEPT_LINES = 30
Phase = Literal["build", "push", "done"]


@dataclass(frozen=True)
class ImageStatus:
    """The state at one moment. `done` and `total` count instructions while building, and bytes while pushing.

    `line` is the latest output; `image` is the result's name, at the end.
    """

    phase: Phase
    title: str = ""
    done: int = 0
    total: int = 0
    line: str = ""
    image: str = ""
    seconds: float = 0.0

    @property
    def share(self) -> float:
        """How much of the phase is done, from 0 to 1."""
        return 1.0 if self.phase == "done" else self.done / self.total if self.total else 0.0


ImageProgress = Callable[[ImageStatus], None]
_listener: ContextVar[ImageProgress | None] = ContextVar("image_progress", default=None)


@contextlib.contextmanager
def listening(progress: ImageProgress) -> Iterator[None]:
    """Report the progress of images made in the block to `progress`."""
    token = _listener.set(progress)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> ImageProgress:
    """The current listener, or a function that does nothing if there is none."""
    return _listener.get() or (lambda status: None)


@dataclass
class BuildLog:
    """A build's output, event by event; `feed` returns the status to show, or None if nothing has changed."""

    steps: Sequence[Step]
    image_id: str = ""
    error: str = ""
    status: ImageStatus = field(default_factory=lambda: ImageStatus("build"))
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=_KEPT_LINES))

    @property
    def step(self) -> Step:
        """The step that is running or has failed."""
        return self.steps[max(0, min(self.status.done, len(self.steps) - 1))]

    def feed(self, event: Mapping[str, Any]) -> ImageStatus | None:
        """Take one decoded event of the engine's stream."""
        before = self.status
        if "error" in event:
            self.error = scrub(_clean(str(event["error"])))
        if "aux" in event and str(event["aux"].get("ID", "")).startswith("sha256:"):
            self.image_id = event["aux"]["ID"]
        for line in _clean(str(event.get("stream", ""))).splitlines():
            self._take(line.rstrip())
        if "status" in event:  # the base image is being fetched
            self.status = replace(self.status, line=f"{event['status']} {event.get('progress', '')}".strip())
        return self.status if self.status != before else None

    def _take(self, line: str) -> None:
        step = _STEP.match(line)
        if step:
            done = int(step[1]) - 1
            title = self.steps[done].title if done < len(self.steps) else ""
            self.status = replace(self.status, done=done, total=int(step[2]), title=title, line="")
            self.lines.clear()
        elif built := _BUILT.match(line):
            self.image_id = self.image_id or built[1]
        elif line and not line.lstrip().startswith(("--->", "Removing intermediate")):
            said = scrub(line)
            self.lines.append(said)
            self.status = replace(self.status, line=said)


@dataclass
class PushLog:
    """A push's output, event by event."""

    digest: str = ""
    error: str = ""
    status: ImageStatus = field(default_factory=lambda: ImageStatus("push", "push"))
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)

    def feed(self, event: Mapping[str, Any]) -> ImageStatus | None:
        """Take one decoded event of the engine's stream."""
        before = self.status
        if "error" in event:
            self.error = scrub(_clean(str(event["error"])))
        aux = event.get("aux") or {}
        self.digest = aux.get("Digest", self.digest)
        detail = event.get("progressDetail") or {}
        layer = str(event.get("id", ""))
        if detail.get("total"):
            self._layers[layer] = (min(detail.get("current", 0), detail["total"]), detail["total"])
        elif event.get("status") == "Pushed" and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1], self._layers[layer][1])
        done, total = (sum(part) for part in zip(*self._layers.values(), strict=True)) if self._layers else (0, 0)
        self.status = replace(self.status, done=done, total=total)
        return self.status if self.status != before else None


def _clean(text: str) -> str:
    return _ANSI.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))

"""How the building of an image is shown: as a bar on a terminal, else as plain lines."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from elasticdl_nb.images.progress import ImageProgress, ImageStatus, listening
from elasticdl_nb.runtime.control.status import format_duration

if TYPE_CHECKING:
    from rich.console import RenderableType

_WIDTH = 36


@contextlib.contextmanager
def shown(progress: bool | None = None) -> Iterator[None]:
    """Show the progress of images in the block on stderr: True always, False never, None if that is a terminal."""
    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield
    elif sys.stderr.isatty():
        with _live() as show, listening(show):
            yield
    else:
        with listening(print_lines(lambda line: print(line, file=sys.stderr, flush=True))):  # noqa: T201
            yield


def headline(status: ImageStatus) -> str:
    """What is happening, in a few words."""
    if status.phase == "done":
        return f"Image {status.title} in {format_duration(status.seconds)}: {status.image}"
    if status.phase == "push":
        return f"Pushing the image: {status.done / 1e6:,.0f} of {status.total / 1e6:,.0f} MB"
    return f"Building the image: {status.title}" if status.title else "Building the image"


class PlainLines:
    """Statuses as lines of text: one for each step that takes time, each fifth of a push, and the end."""

    def __init__(self) -> None:
        self._last: object = None

    def feed(self, status: ImageStatus) -> list[str]:
        """Return the lines that a status adds, which are usually none."""
        if status.phase == "build" and not status.line:
            return []  # a step that the engine has cached prints nothing
        mark = (status.phase, status.title, int(5 * status.share) if status.phase == "push" else 0)
        if mark == self._last or (status.phase == "push" and not status.total):
            return []
        self._last = mark
        return [headline(status)]


def print_lines(say: Callable[[str], None]) -> ImageProgress:
    """Return a listener that prints every status that is worth a line."""
    lines = PlainLines()

    def show(status: ImageStatus) -> None:
        for line in lines.feed(status):
            say(line)

    return show


@contextlib.contextmanager
def _live() -> Iterator[ImageProgress]:
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    latest: ImageStatus | None = None
    live = Live(
        get_renderable=lambda: _render(latest),
        console=console,
        refresh_per_second=8,
        redirect_stdout=False,
        transient=True,
    )

    def show(status: ImageStatus) -> None:
        nonlocal latest
        latest = status
        if status.phase == "done":
            latest = None
            console.print(headline(status), markup=False)
        elif not live.is_started:
            live.start()

    try:
        yield show
    finally:
        live.stop()


def _render(status: ImageStatus | None) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if status is None:
        return ""
    bar = Table.grid(padding=(0, 2))
    pulse = not status.total
    bar.add_row(
        ProgressBar(total=1.0, completed=status.share, width=_WIDTH, pulse=pulse, animation_time=time.time()),
        Text(headline(status)),
    )
    return Group(bar, Text(status.line, style="dim", no_wrap=True, overflow="ellipsis"))

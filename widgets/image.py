"""How the building of an image is shown in a notebook: HTML while it lasts, one line when it is done."""

from __future__ import annotations

import time
from typing import Any

from IPython.display import display

from elasticdl_nb.images import ImageStatus
from elasticdl_nb.images.showing import headline
from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.liveform import bar
from elasticdl_nb.widgets.theme import STYLE

_INTERVAL_SECONDS = 0.25


def render_image(status: ImageStatus) -> str:
    """Return the current state as HTML, including its style sheet."""
    if status.phase == "done":
        inside = f'<div class="edl-note">{safe(headline(status))}</div>'
    else:
        inside = (
            f'<div class="edl-head"><span class="edl-phase">{safe(headline(status))}</span></div>{bar(status.share)}'
            f'<div class="edl-under"><span class="edl-detail">{safe(status.line)}</span></div>'
        )
    return f'<style>{STYLE}</style><div class="edl">{inside}</div>'


class ImageView:
    """An output below the cell, starting with the first status; at most four updates a second.

    `place` is the handle of the display to draw in; by default a new one.
    """

    def __init__(self, place: Any = None) -> None:
        self._handle = place
        self._due = 0.0

    def show(self, status: ImageStatus) -> None:
        """Show the next status."""
        now = time.monotonic()
        if status.phase != "done" and now < self._due:
            return
        self._due = now + _INTERVAL_SECONDS
        bundle = {"text/html": render_image(status), "text/plain": headline(status)}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(bundle, raw=True)

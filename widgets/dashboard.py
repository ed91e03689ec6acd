"""What the master's HTTP endpoint serves; `runtime.master.dashboard` finds `Pages` by its name."""

from __future__ import annotations

import secrets

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.changes import Changes
from elasticdl_nb.widgets.page import OVER_EVENT, content_security_policy, page_event, render_page


class Pages:
    """See `runtime.master.dashboard.Renderer`."""

    def page(self, status: JobStatus) -> tuple[bytes, str]:
        """Return the page and its content security policy."""
        nonce = secrets.token_urlsafe(16)
        return render_page(status, nonce=nonce).encode(), content_security_policy(nonce)

    def stream(self) -> PageStream:
        """Return the stream for a page that has just been opened."""
        return PageStream()


class PageStream:
    """See `runtime.master.dashboard.Stream`."""

    def __init__(self) -> None:
        self._changes = Changes()

    def news(self, status: JobStatus, now: float) -> bytes:
        """Return the events that bring the page up to date."""
        changed = self._changes.update(status, now)
        return (page_event(changed) if changed else b"") + (OVER_EVENT if is_over(status) else b"")

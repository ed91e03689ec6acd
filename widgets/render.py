"""The job view, drawn from a `JobStatus` alone: the one renderer behind notebook, dashboard, report and batch output.

Pure functions; whatever the status holds, they return bounded and well-formed output and never raise.
"""

from __future__ import annotations

from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.liveform import PARTS
from elasticdl_nb.widgets.page import render_page
from elasticdl_nb.widgets.savedform import render_static
from elasticdl_nb.widgets.text import render_text
from elasticdl_nb.widgets.theme import STYLE

__all__ = ["mimebundle", "render_live", "render_page", "render_parts", "render_static", "render_text"]


def render_parts(status: JobStatus) -> dict[str, str]:
    """Return the live form in parts by name, from top to bottom; a part with nothing to show is empty.

    The parts belong in elements of class `edl` on a page that has `theme.STYLE`.
    """
    return {name: part.draw(status) for name, part in PARTS.items()}


def render_live(status: JobStatus) -> str:
    """Return the live form as one piece of HTML, including its style sheet."""
    return f'<style>{STYLE}</style><div class="edl">{"".join(render_parts(status).values())}</div>'


def mimebundle(status: JobStatus) -> dict[str, str]:
    """Return the static form for `display(…, raw=True)` and `_repr_mimebundle_`: `text/html` and `text/plain`."""
    return {"text/html": render_static(status), "text/plain": render_text(status)}

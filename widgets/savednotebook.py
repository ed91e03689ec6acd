"""The pictures in a notebook that is being saved, brought up to date: decisions without I/O.

A kernel keeps the pictures of its own outputs up to date, but not on a page that was loaded again since, and not once
it has ended. Whoever saves the notebook then can still ask for the job by its name.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from typing import Any

from elasticdl_nb.runtime.control.status import is_over
from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.liveoutput import HOST, live_bundle
from elasticdl_nb.widgets.render import mimebundle

_HOST = re.compile(HOST.format(*3 * ['([^"<>]*)']))

StatusOf = Callable[[str, str], JobStatus | None]
"""Returns the status of the job with this name and identity, or None if it is not known."""


def refresh(notebook: Any, status_of: StatusOf) -> int:
    """Replace the pictures of running jobs in `notebook`, the JSON of a file; return how many were replaced.

    The picture of a job that is over is its last. Pictures of jobs that are not known stay.
    """
    replaced = 0
    for data in _outputs(notebook):
        shown = data.get("text/html", "")
        host = _HOST.match("".join(shown) if isinstance(shown, list) else str(shown))
        if host is None:
            continue
        view, name, identity = map(html.unescape, host.groups())
        status = status_of(name, identity)
        if status is not None:
            data.update(mimebundle(status) if is_over(status) else live_bundle(status, view, identity))
            replaced += 1
    return replaced


def _outputs(notebook: Any) -> Iterator[dict[str, Any]]:
    """The data of every output, by mime type."""
    for cell in notebook.get("cells", ()):
        for output in cell.get("outputs", ()):
            if isinstance(data := output.get("data"), dict):
                yield data

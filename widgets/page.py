"""The dashboard: a page that shows a job and keeps itself up to date through server-sent events.

The page loads nothing but its own event stream. Each event's data is a JSON object of the parts that changed; an
event named `over` means that no more will come.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets import summary
from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.liveform import PARTS
from elasticdl_nb.widgets.liveoutput import hover_script
from elasticdl_nb.widgets.theme import PAGE_STYLE

# This package makes the parts, with everything foreign escaped, and the policy allows no other script.
_SCRIPT = """
const main = document.querySelector("main");
const gone = document.getElementById("edl-gone");
let pointer = null;
for (const kind of ["pointermove", "pointerleave"]) {
  main.addEventListener(kind, (event) => {
    pointer = kind === "pointerleave" ? null : event;
    showTip(main, pointer);
  });
}
const stream = new EventSource(document.body.dataset.events);
stream.onopen = () => { gone.hidden = true; };
stream.onerror = () => { gone.hidden = false; };
stream.onmessage = (event) => {
  for (const [name, html] of Object.entries(JSON.parse(event.data))) {
    const part = document.getElementById("edl-part-" + name);
    if (part) {
      const open = part.querySelector("details[open]");
      part.innerHTML = html;
      if (open) part.querySelector("details")?.setAttribute("open", "");
    }
  }
  showTip(main, pointer);
};
stream.addEventListener("over", () => { stream.close(); gone.hidden = true; });
"""


def content_security_policy(nonce: str) -> str:
    """Return the value of the `Content-Security-Policy` header to serve the page with."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def render_page(status: JobStatus, *, nonce: str, events_url: str = "events") -> str:
    """Return the page as a whole HTML document.

    `nonce` is new for every response and the same as for `content_security_policy`; `events_url` is the stream's
    address, relative to the page's. If the job is over there is no stream, and the page has no script.
    """
    head = summary.head(status)
    parts = "".join(f'<div class="edl" id="edl-part-{name}">{part.draw(status)}</div>' for name, part in PARTS.items())
    script = "" if head.over else f'<script nonce="{safe(nonce)}">{hover_script()}{_SCRIPT}</script>'
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'
        f'<title>{safe(head.name)}</title><style nonce="{safe(nonce)}">{PAGE_STYLE}</style></head>'
        f'<body data-events="{safe(events_url)}"><main>{parts}'
        '<p class="edl edl-gone" id="edl-gone" role="status" hidden>No connection to the job. Reconnecting …</p>'
        f"</main>{script}</body></html>"
    )


def page_event(parts: Mapping[str, str]) -> bytes:
    """Return the server-sent event that updates these parts (from `Changes.update`) of the page."""
    return b"data: " + json.dumps(dict(parts), separators=(",", ":")).encode() + b"\n\n"


OVER_EVENT = b"event: over\ndata: {}\n\n"
"""The event that ends the stream of a job that is over."""

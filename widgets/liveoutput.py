"""The output of a cell that shows a running job: the picture of its last known state, which a page can make live.

Everything that keeps or shows notebooks keeps the picture: it stays when the page is loaded again, when the kernel
ends, and where no script runs. In JupyterLab and Jupyter Notebook, a few lines of script load `live.js` from the
Jupyter server, which then draws the job in place of the picture, without the kernel.
"""

from __future__ import annotations

from pathlib import Path

from elasticdl_nb.runtime.protocol.master_pb2 import JobStatus
from elasticdl_nb.widgets.format import safe
from elasticdl_nb.widgets.savedform import render_static
from elasticdl_nb.widgets.text import render_text

HOST = '<div data-elasticdl="{}" data-job="{}" data-identity="{}">'
"""What the output of a running job begins with: its own id, and the job's name and identity."""

# On a page without a Jupyter server (an exported notebook, for instance), nothing is loaded.
_LOADER = """
(() => {
  const host = document.currentScript?.previousElementSibling;
  if (!host?.dataset.elasticdl) return;
  const page = document.getElementById("jupyter-config-data");
  const {baseUrl, token} = page ? JSON.parse(page.textContent) : document.body.dataset;
  if (!baseUrl) return;
  const show = () => window.elasticdlShow(host, baseUrl, token);
  if (window.elasticdlShow) show();
  else import(new URL(baseUrl + "elasticdl/live.js", location.href)).then(show, () => {});
})();
"""


def module() -> bytes:
    """Return the module that pages load: `hover.js` and `live.js`."""
    return (hover_script() + Path(__file__).with_name("live.js").read_text()).encode()


def hover_script() -> str:
    """Return the text of `hover.js`, which the dashboard's page needs, too."""
    return Path(__file__).with_name("hover.js").read_text()


def live_bundle(status: JobStatus, view: str, identity: str) -> dict[str, str]:
    """Return the output for `display(…, raw=True)` of a job that runs.

    `view` distinguishes this output from all others, and `identity` the job from others of its name.
    """
    html = (
        f"{HOST.format(safe(view), safe(status.name), safe(identity))}"
        f"{render_static(status)}</div><script>{' '.join(_LOADER.split())}</script>"
    )
    return {"text/html": html, "text/plain": render_text(status)}

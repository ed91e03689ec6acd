"""What people who have never seen the project find with the search of the documentation's site."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from labs import chromium_page

SITE = Path(__file__).parents[2] / "build" / "site"  # made by `make docs`, which CI runs before the tests
pytestmark = [
    pytest.mark.needs("browser"),
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="there is no site; `make docs` makes it"),
]

WANTED = {
    "stop on NaN": "faq.html#how-do-i-stop-on-nan",
    "loss is nan": "faq.html#how-do-i-stop-on-nan",
    "go on from yesterday's model": "faq.html#how-do-i-go-on-from-yesterdays-model-or-resume-training",
    "continue training": "faq.html#how-do-i-go-on-from-yesterdays-model-or-resume-training",
    "resume training": "faq.html#how-do-i-go-on-from-yesterdays-model-or-resume-training",
    "what happens when a worker dies": "faq.html#what-happens-when-a-worker-dies",
    "frame of predictions": "faq.html#how-do-i-get-a-frame-dataframe-of-predictions",
    "get predictions as a dataframe": "faq.html#how-do-i-get-a-frame-dataframe-of-predictions",
    "why was a column dropped": "faq.html#why-was-a-column-dropped",
    "dropped column": "faq.html#why-was-a-column-dropped",
    "load model": "faq.html#how-do-i-load-the-trained-model-as-a-keras-model",
    "stop a job": "faq.html#how-do-i-stop-a-job",
    "install": "faq.html#how-do-i-install-it",
    "jupyterhub": "remote-jupyter.html",
    "tensorboard": "tensorboard.html",
    "papermill": "tutorials/papermill.html",
}

FOUND = """() => [...document.querySelectorAll('.md-search-result__item')].slice(0, 1).flatMap(
    item => [...item.querySelectorAll('a.md-search-result__link')].slice(0, 2).map(link => link.href))"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_search_leads_to_the_answer_first(address: str) -> None:
    wrong = {}
    with chromium_page() as page:
        page.goto(f"{address}/index.html")
        box = page.locator("input[data-md-component=search-query]")
        box.click()
        for asked, wanted in WANTED.items():
            box.fill("zzzz")
            box.press("End")
            page.get_by_text("No matching documents").wait_for()
            box.fill(asked)
            box.press("End")
            page.locator(".md-search-result__item").first.wait_for()
            found = [one.removeprefix(f"{address}/") for one in page.evaluate(FOUND)]
            places = ["".join(one.partition("?")[::2][:1]) + one[one.find("#") :] * ("#" in one) for one in found]
            if wanted not in places:
                wrong[asked] = places
    assert not wrong

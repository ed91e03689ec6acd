"""The view that a kernel keeps up to date in a cell's output, and what stays when the job is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest
from html_reading import read
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from job_samples import running, succeeded

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets import view as view_module
from elasticdl_nb.widgets.liveoutput import live_bundle
from elasticdl_nb.widgets.render import mimebundle
from elasticdl_nb.widgets.view import JobView


class ScriptedJob:
    """A job that does what the test says: `say` a status, an error, or None for the end of the stream."""

    name = "flights-deepfm"

    def __init__(self, *said: pb.JobStatus | Exception | None) -> None:
        self.said: queue.Queue[pb.JobStatus | Exception | None] = queue.Queue()
        for one in said:
            self.said.put(one)

    def watch(self, interval: float = 0.0) -> Iterator[pb.JobStatus]:
        while (status := self.said.get(timeout=30)) is not None:
            if isinstance(status, Exception):
                raise status
            yield status


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, object]]]:
    """What a notebook would get; later ones with the same display id replace earlier ones."""
    had_shell = InteractiveShell.initialized()
    shell = InteractiveShell.instance()
    publisher = CapturingDisplayPublisher(parent=shell)
    monkeypatch.setattr(shell, "display_pub", publisher)
    yield publisher.outputs
    if not had_shell:
        InteractiveShell.clear_instance()


def test_every_state_of_the_output_is_a_picture_and_the_last_one_has_no_script(
    outputs: list[dict[str, object]],
) -> None:
    assert JobView(ScriptedJob(running(), succeeded(), None), "id").show().wait(30)
    first, *_, last = outputs
    for output in outputs:
        assert output["data"].keys() == {"text/html", "text/plain"}  # type: ignore[attr-defined]
        assert output["transient"] == first["transient"]
    assert [bool(output.get("update")) for output in outputs] == [False, True, True]
    assert last["data"] == mimebundle(succeeded())
    assert "<script" not in last["data"]["text/html"]  # type: ignore[index]


def test_the_picture_of_a_running_job_says_how_old_it_is_and_how_to_see_the_job() -> None:
    bundle = live_bundle(running(), "view", "identity")
    (host,) = [attributes for _, attributes in read(bundle["text/html"]).elements if "data-elasticdl" in attributes]
    assert (host["data-job"], host["data-identity"]) == ("flights-deepfm", "identity")
    assert "As of " in bundle["text/html"] and "%elasticdl_attach flights-deepfm" in bundle["text/html"]
    assert "%elasticdl_attach flights-deepfm" in bundle["text/plain"]
    assert "41233" not in bundle["text/html"] + bundle["text/plain"]  # the dashboard's address has a secret
    for text in mimebundle(succeeded()).values():
        assert "%elasticdl_attach" not in text


def test_pictures_come_rarely_where_a_page_follows_the_job_by_itself() -> None:
    now = 100.0
    for watched, pause in ((False, view_module.ALONE_SECONDS), (True, view_module.WATCHED_SECONDS)):
        view = JobView(ScriptedJob(), "id", lambda watched=watched: watched)  # type: ignore[misc]
        status = running()
        assert view._is_due(status, now)
        assert not view._is_due(status, now + 0.9 * pause)
        assert view._is_due(status, now + pause)
        status.phase = pb.FINISHING
        assert view._is_due(status, now + pause)


def test_a_lost_job_leaves_its_last_picture_and_says_how_to_find_it(outputs: list[dict[str, object]]) -> None:
    assert JobView(ScriptedJob(running(), ConnectionError("the master is gone"))).show().wait(30)
    text = outputs[-1]["data"]["text/plain"]  # type: ignore[index]
    assert "the master is gone" in text
    assert "elasticdl_nb.attach('flights-deepfm')" in text


def test_views_do_not_keep_a_kernel_alive(outputs: list[dict[str, object]]) -> None:
    job = ScriptedJob(running())
    JobView(job).show()
    followers = [thread for thread in threading.enumerate() if thread.name == "elasticdl-view-flights-deepfm"]
    assert followers and all(thread.daemon for thread in followers)
    job.said.put(None)

"""The widgets: what reaches the browser while a job runs, and what stays when it is over."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from job_samples import prediction, running, starting, succeeded

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.controls import LOG_CHARACTERS, LOG_LINES, Controls, log_end, workers_wanted
from elasticdl_nb.widgets.render import mimebundle
from elasticdl_nb.widgets.view import JobView


class ScriptedJob:
    """A job that does what the test says: `say` a status, an error, or None for the end of the stream."""

    name = "flights-deepfm"
    is_waited_for = False

    def __init__(self) -> None:
        self.said: queue.Queue[pb.JobStatus | Exception | None] = queue.Queue()
        self.cancelled = threading.Event()
        self.asked_logs: list[tuple[str | None, int | None]] = []
        self.log = "line"
        self.scaled: queue.Queue[int] = queue.Queue()

    def watch(self, interval: float = 0.0) -> Iterator[pb.JobStatus]:
        while (status := self.said.get(timeout=30)) is not None:
            if isinstance(status, Exception):
                raise status
            yield status

    def cancel(self) -> None:
        self.cancelled.set()

    def scale(self, workers: int) -> None:
        self.scaled.put(workers)
        if workers > 4:
            raise ElasticDLError("<no room> for more")

    def logs(self, role: str | None = None, index: int | None = None, tail: int | None = None) -> str:
        self.asked_logs.append((role, index))
        return self.log


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


def test_what_stays_is_free_of_widgets(outputs: list[dict[str, object]]) -> None:
    job = ScriptedJob()
    for status in (running(), succeeded(), None):
        job.said.put(status)
    view = JobView(job).show()
    assert view.wait(30)
    first, last = outputs[0], outputs[-1]
    assert "application/vnd.jupyter.widget-view+json" in first["data"]  # type: ignore[operator]
    assert last["data"] == mimebundle(succeeded())
    assert last["update"]
    assert last["transient"] == first["transient"]


def test_the_view_shows_what_the_job_says(outputs: list[dict[str, object]]) -> None:
    job = ScriptedJob()
    view = JobView(job).show()
    arrived = threading.Event()
    _, head, *_ = view.widget.children
    assert "flights-deepfm" in head.value
    head.observe(lambda change: "43%" in change.new and arrived.set(), names="value")
    job.said.put(running())
    assert arrived.wait(30)
    job.said.put(succeeded())
    job.said.put(None)
    assert view.wait(30)


def test_a_lost_job_leaves_its_last_picture_and_says_how_to_find_it(outputs: list[dict[str, object]]) -> None:
    job = ScriptedJob()
    job.said.put(running())
    job.said.put(ConnectionError("the master is gone"))
    assert JobView(job).show().wait(30)
    text = outputs[-1]["data"]["text/plain"]  # type: ignore[index]
    assert "the master is gone" in text
    assert "elasticdl_nb.attach('flights-deepfm')" in text


def test_stop_cancels_the_job() -> None:
    job = ScriptedJob()
    controls = Controls(job)
    controls._stop.click()
    assert job.cancelled.wait(30)
    assert controls._stop.disabled


def test_scale_buttons_are_there_only_if_the_job_can_scale() -> None:
    for status, there in ((running(), True), (prediction(), True), (starting(), False)):
        controls = Controls(ScriptedJob())
        controls.update(status)
        assert (controls._scale.layout.display is None) == there


def test_scale_buttons_ask_for_one_more_and_one_fewer() -> None:
    job = ScriptedJob()
    controls = Controls(job)
    controls.update(running(workers=3))
    assert controls._count.value == "3 workers"
    controls._more.click()
    assert job.scaled.get(timeout=30) == 4
    controls._fewer.click()
    assert job.scaled.get(timeout=30) == 3


def test_buttons_that_the_kernel_cannot_hear_say_so() -> None:
    job = ScriptedJob()
    controls = Controls(job)
    for waited in (True, False):
        job.is_waited_for = waited
        controls.update(running(workers=2))
        assert (controls._stop.disabled, controls._more.disabled, controls._logs.disabled) == (waited,) * 3
        assert ("Interrupt the cell" in controls._note.value) == waited


def test_quick_clicks_all_count() -> None:
    job = ScriptedJob()
    release = threading.Event()
    slow = job.scale
    job.scale = lambda workers: release.wait(30) and slow(workers)  # type: ignore[method-assign, func-returns-value]
    controls = Controls(job)
    controls.update(running(workers=2))
    for _ in range(2):
        controls._more.click()
        controls.update(running(workers=2))
    assert controls._count.value == "4 workers"
    release.set()
    assert [job.scaled.get(timeout=30) for _ in range(2)][-1] == 4


def test_what_the_job_refuses_is_said_beside_the_buttons() -> None:
    job = ScriptedJob()
    controls = Controls(job)
    controls.update(running(workers=4))
    said = threading.Event()
    controls._note.observe(lambda change: change.new and said.set(), names="value")
    controls._more.click()
    assert said.wait(30)
    assert "Scale: &lt;no room&gt; for more" in controls._note.value


def test_there_is_always_one_worker_left() -> None:
    controls = Controls(ScriptedJob())
    controls.update(running(workers=1))
    assert controls._count.value == "1 worker"
    assert controls._fewer.disabled


def test_logs_are_those_of_the_chosen_process() -> None:
    job = ScriptedJob()
    job.log = "<b>hello</b>"
    controls = Controls(job)
    controls.update(running())
    controls.refresh_logs()
    assert "&lt;b&gt;hello" in controls._pane.value
    for chosen, asked in (("worker-1", ("worker", 1)), ("master", ("master", None)), ("ps-0", ("ps", 0))):
        controls._whose.value = chosen
        controls.refresh_logs()
        assert job.asked_logs[-1] == asked


def test_a_flood_of_logs_is_bounded() -> None:
    assert len(log_end("x" * 10_000_000)) <= LOG_CHARACTERS
    assert log_end("\n".join(map(str, range(2000)))).splitlines() == [str(n) for n in range(2000 - LOG_LINES, 2000)]
    assert log_end("\x1b[31mred\x1b[0m") == "red"


def test_workers_that_are_gone_do_not_count() -> None:
    status = running(workers=3)
    status.instances[-2].state = "failed"
    status.num_workers = 0
    assert workers_wanted(status) == 2

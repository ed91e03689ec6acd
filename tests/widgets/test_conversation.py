"""What a page and the Jupyter server say to each other."""

from __future__ import annotations

import pytest
from job_samples import prediction, running, starting, succeeded

from elasticdl_nb.widgets.conversation import (
    LOG_CHARACTERS,
    LOG_LINES,
    Conversation,
    Logs,
    NoLogs,
    Scale,
    Stop,
    can_scale,
    log_end,
    log_pane,
    spoken,
    stakes,
    understood,
    workers_wanted,
)


def test_what_a_page_asks_for_is_understood() -> None:
    assert understood({"ask": "stop"}) == Stop()
    assert understood({"ask": "scale", "workers": 3}) == Scale(3)
    for process, asked in (("worker-1", ("worker", 1)), ("master", ("master", None)), ("", (None, None))):
        assert understood({"ask": "logs", "process": process}) == Logs(*asked)
    assert understood({"ask": "no logs"}) == NoLogs()


@pytest.mark.parametrize(
    "message",
    [
        None, [], "stop", {}, {"ask": "exec"}, {"ask": "scale"}, {"ask": "scale", "workers": 0},
        {"ask": "scale", "workers": "3"}, {"ask": "scale", "workers": 1e9}, {"ask": "logs", "process": "../token"},
        {"ask": "logs", "process": "worker-*"}, {"ask": "logs", "process": 1},
    ],
)  # fmt: skip
def test_nothing_else_is(message: object) -> None:
    with pytest.raises(ValueError):
        understood(message)


def test_what_is_new_is_said_once() -> None:
    conversation = Conversation()
    first = conversation.news(running(), 0.0)
    assert "head" in first["parts"] and first["state"]["workers"] == 3 and "over" not in first
    assert first["state"]["processes"] == ["master", "ps-0", "ps-1", "worker-0", "worker-1", "worker-2"]
    assert conversation.news(running(), 10.0) == {}
    conversation.stopping = True
    assert conversation.news(running(), 20.0)["state"]["stopping"]
    assert conversation.news(succeeded(), 20.1)["over"]


def test_jobs_of_one_process_have_no_other_number_of_workers() -> None:
    assert [can_scale(status) for status in (running(), prediction(), starting())] == [True, True, False]


def test_workers_that_are_gone_do_not_count() -> None:
    status = running(workers=3)
    status.instances[-2].state = "failed"
    status.num_workers = 0
    assert workers_wanted(status) == 2


def test_stop_says_what_it_costs() -> None:
    status = running()
    assert "go on from its checkpoint of step 666" in stakes(status)
    status.checkpoint_step = -1
    assert "no checkpoint yet" in stakes(status)
    assert "written" in stakes(prediction())


def test_a_screen_reader_hears_every_tenth() -> None:
    status = running()
    heard = set()
    for percent in range(100):
        status.progress = percent / 100
        heard.add(spoken(status))
    assert len(heard) == 10
    assert spoken(succeeded()) == "flights-deepfm: Succeeded"


def test_a_flood_of_logs_is_bounded() -> None:
    assert len(log_end("x" * 10_000_000)) <= LOG_CHARACTERS
    assert log_end("\n".join(map(str, range(2000)))).splitlines() == [str(n) for n in range(2000 - LOG_LINES, 2000)]
    assert log_end("\x1b[31mred\x1b[0m") == "red"
    assert "&lt;b&gt;hello" in log_pane("<b>hello</b>")
    assert "nothing yet" in log_pane("")

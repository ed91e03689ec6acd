"""What the view says in each state of a job, in every form."""

from __future__ import annotations

import base64
import math
import re
from xml.etree import ElementTree

import pytest
from html_reading import read, text_of
from job_samples import ALL, STARTED, failed, prediction, prequential, running, starting, succeeded, worker

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.page import OVER_EVENT, content_security_policy, page_event
from elasticdl_nb.widgets.render import mimebundle, render_live, render_page, render_parts, render_static, render_text
from elasticdl_nb.widgets.summary import head

FORMS = {
    "live": render_live,
    "static": render_static,
    "page": lambda status: render_page(status, nonce="n0nce"),
}


def pictures(html: str) -> list[str]:
    return [base64.b64decode(data).decode() for data in re.findall(r"base64,([^\"]+)", html)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("state", ALL)
def test_every_state_is_well_formed_and_named(form: str, state: str) -> None:
    status = ALL[state]()
    text = text_of(FORMS[form](status))
    assert status.name in text
    assert pb.JobPhase.Name(status.phase).capitalize() in text


@pytest.mark.parametrize("form", FORMS)
def test_a_job_shows_what_it_tested_before_it_learnt_it(form: str) -> None:
    text = text_of(FORMS[form](prequential()))
    said = "the last 10.0K records of 30.0K, alarm auc<0.8, 64 records learnt untested"
    assert f"Test, then train {said} auc 0.76 calibration 1.02" in text and "auc<0.8" not in FORMS[form](prequential())
    assert f"\n  test, then train: {said}\n" in render_text(prequential())


def test_a_running_job_shows_its_numbers() -> None:
    text = text_of(render_live(running()))
    for part in (
        "step 666",
        "2 of 3 workers, 2 servers",
        "ps-0 ● running serving: 412K rows, 53 MB",
        "43%",
        "2m 12s left",
        "412K of 943K",
        "8,312",
        "2 of 3",
        "101 of 231, 1 retried",
        "1m 23s",
        "0.3073",
    ):
        assert part in text
    assert "accuracy 0.8961" in text
    assert "worker-0 ● running training 12 98.3K 4,100" in text
    assert "1:04 worker-2 ▲ warning : killed by signal 9" in text


def test_workers_that_exchange_gradients_show_how_much_of_it_is_hidden() -> None:
    status = running()
    assert "hidden behind computing" not in text_of(render_live(status))
    for one, hidden in zip(status.instances[-3:], (6.0, 2.5, float("nan")), strict=True):
        one.exchanging, one.hidden = 10.0, hidden
    assert "hidden behind computing" not in text_of(render_live(status))
    status.instances[-1].hidden = 0.0
    assert "10s 28% hidden behind computing" in text_of(render_live(status))


def test_a_job_on_a_topic_shows_how_far_it_is_in_the_time_of_its_events() -> None:
    status = running()
    status.event_time = status.event_time_oldest = STARTED
    assert "Event time 2025-10-09 08:53:20Z Late" not in text_of(render_live(status))
    status.lag_seconds, status.records_late = 200.0, 1234
    assert "Event time 2025-10-09 08:53:20Z 3m 20s behind Late 1,234 trained on" in text_of(render_live(status))
    status.lag_seconds, status.records_late_passed = 0.0, 1234
    assert "Event time 2025-10-09 08:53:20Z up to date Late 1,234 passed over" in text_of(render_live(status))


def test_a_starting_job_shows_no_empty_charts() -> None:
    parts = render_parts(starting())
    assert [name for name, html in parts.items() if html] == ["head", "instances"]
    assert "left" not in text_of(parts["head"])


def test_a_prediction_has_neither_epoch_nor_loss() -> None:
    text = text_of(render_live(prediction()))
    assert "Epoch" not in text
    assert "Step" not in text
    assert "Loss" not in text


def test_a_failed_job_shows_message_and_traceback() -> None:
    for render in (render_live, render_static):
        text = text_of(render(failed()))
        assert "flights.py, line 31" in text
        assert "self._trainer.step(batch)" in text
    assert ("details", {}) in read(render_live(failed())).elements


def test_a_job_that_failed_without_a_reason_says_that_it_failed() -> None:
    assert "The job failed." in text_of(render_live(pb.JobStatus(name="j", phase=pb.FAILED)))


def test_a_job_that_succeeded_is_complete_and_names_its_output() -> None:
    status = succeeded()
    status.progress = 0.98
    text = text_of(render_static(status))
    assert "100%" in text
    assert "trained model written to /home/ada/models/flights" in text
    assert "4,407 on average" in text
    assert "left" not in text


def test_only_a_whole_job_is_at_100_percent() -> None:
    status = running()
    status.progress = 0.999
    assert "99%" in text_of(render_live(status))


def test_what_lies_beyond_the_bounds_is_counted() -> None:
    status = running(workers=100)
    status.evaluations[0].metrics.update({f"m{place}": 0.5 for place in range(30)})
    for render in (render_live, render_static):
        text = text_of(render(status))
        assert "and 83 more: 83 running" in text
        assert "and 21 more" in text


def test_processes_in_trouble_are_shown_however_many_there_are() -> None:
    status = running(workers=100)
    status.instances[60].state = "failed"
    text = text_of(render_live(status))
    name = f"worker-{status.instances[60].index}"
    assert f"{name} ✕ failed" in text
    assert "worker-99 ↻ restarting" in text


def test_a_step_done_again_counts_once() -> None:
    status = pb.JobStatus(name="j", phase=pb.RUNNING)
    for step, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.75)):
        status.losses.add(step=step, loss=loss)
    assert "loss from 0.9 at step 1 to 0.7 at step 3" in render_live(status)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_losses_that_are_not_finite_leave_a_gap_and_are_counted(bad: float) -> None:
    status = running(100, noise=0)
    status.losses[40].loss = bad
    drawn = render_parts(status)["loss"]
    assert "1 of 100 values not finite" in drawn
    assert drawn.count("h0") == 2
    assert not re.search(r"nan|inf", drawn.replace("not finite", ""))


def test_a_curve_without_any_finite_value_says_so() -> None:
    status = pb.JobStatus(name="j", phase=pb.RUNNING, losses=[pb.LossPoint(step=1, loss=math.nan)])
    text = text_of(render_live(status))
    assert "no finite value yet" in text
    assert "Loss nan" in text


def test_pictures_of_the_static_form_are_documents_of_their_own() -> None:
    html = render_static(running())
    assert len(pictures(html)) == 4
    for picture in pictures(html):
        assert ElementTree.fromstring(picture).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(attributes["alt"] for name, attributes in read(html).elements if name == "img")


ALLOWED_IN_JUPYTERLAB = {
    "background", "border", "border-bottom", "border-collapse", "border-left", "border-radius", "color", "cursor",
    "display", "font-size", "font-weight", "height", "line-height", "margin", "margin-top", "max-width", "min-width",
    "opacity", "overflow", "overflow-wrap", "overflow-x", "padding", "text-align", "vertical-align", "white-space",
    "width",
}  # fmt: skip


@pytest.mark.parametrize("state", ALL)
def test_the_static_form_survives_the_sanitising_of_untrusted_notebooks(state: str) -> None:
    elements = read(render_static(ALL[state]())).elements
    assert {name for name, _ in elements} <= {
        "div", "span", "b", "br", "img", "table", "thead", "tbody", "tr", "th", "td", "details", "summary",
        "pre", "code",
    }  # fmt: skip
    for _, attributes in elements:
        assert set(attributes) <= {"style", "alt", "width", "height", "src"}
        for rule in (attributes.get("style") or "").split(";"):
            name, _, value = rule.partition(":")
            assert not name or name in ALLOWED_IN_JUPYTERLAB
            assert "(" not in value


@pytest.mark.parametrize("state", ALL)
def test_the_live_form_obeys_a_policy_without_inline_styles(state: str) -> None:
    for html in render_parts(ALL[state]()).values():
        for name, attributes in read(html).elements:
            assert "style" not in attributes
            assert name not in ("script", "style", "img", "iframe", "object")
            assert not [attribute for attribute in attributes if attribute.startswith("on")]


def test_every_rule_of_the_live_style_is_bound_to_the_view() -> None:
    style = re.search(r"<style>(.*)</style>", render_live(starting())).group(1)  # type: ignore[union-attr]
    for rule in re.findall(r"([^{}]+)\{", style):
        assert rule.startswith(("@media", "@container")) or all(
            selector.strip().startswith(".edl") for selector in rule.split(",")
        )


def test_charts_and_bars_have_words() -> None:
    html = render_live(running())
    for name, attributes in read(html).elements:
        if name == "svg" and attributes.get("role") == "img":
            assert re.search(r"from .* to ", attributes["aria-label"] or "")
    assert 'role="progressbar"' in html


def test_the_page_loads_nothing_and_runs_only_its_own_script() -> None:
    page = render_page(running(), nonce="n0nce", events_url="events?token=abc")
    elements = read(page).elements
    assert [attributes["nonce"] for name, attributes in elements if name in ("script", "style")] == ["n0nce"] * 2
    assert not [attributes for _, attributes in elements if "src" in attributes]
    assert dict(elements)["body"]["data-events"] == "events?token=abc"
    policy = content_security_policy("n0nce")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


def test_a_picture_from_before_the_start_says_so_and_offers_no_job() -> None:
    bundle = mimebundle(pb.JobStatus(name="train job", detail="checking the data", updated_at=1e9))
    assert "the job had not started yet" in bundle["text/html"] and "checking the data" in bundle["text/html"]
    assert "elasticdl_attach" not in bundle["text/html"] + bundle["text/plain"]


def test_a_curve_is_marked_at_every_checkpoint_that_is_kept() -> None:
    status = running()
    status.kept_checkpoints.extend([300, 600, status.checkpoint_step])
    assert render_parts(status)["loss"].count("◆</text>") == 3 and "◆ checkpoint" in render_parts(status)["loss"]
    del status.kept_checkpoints[:]
    assert render_parts(status)["loss"].count("◆</text>") == 1


def test_the_page_of_a_job_that_is_over_has_no_script() -> None:
    assert "<script" not in render_page(succeeded(), nonce="n0nce")


def test_events_are_of_one_line() -> None:
    event = page_event({"head": "a\nb"})
    assert event == b'data: {"head":"a\\nb"}\n\n'
    assert OVER_EVENT.endswith(b"\n\n")


def test_text_tells_the_same() -> None:
    text = render_text(running())
    assert "flights-deepfm, train · ParameterServerStrategy, running, 43%, training, 2m 12s left" in text
    assert re.search(r"accuracy 0\.8961 ▁[▁-█]{3}█", text)
    assert "ValueError: Matrix size-incompatible" in render_text(failed())
    assert mimebundle(running()) == {"text/html": render_static(running()), "text/plain": text}


def test_typical_sizes_are_kept() -> None:
    status = running(points=500, workers=8)
    assert sum(len(html.encode()) for html in render_parts(status).values()) < 12_000
    assert len(render_static(status)) < 30_000


def test_sizes_are_bounded_whatever_there_is() -> None:
    status = running(points=2000, workers=200)
    for evaluation in status.evaluations:
        evaluation.metrics.update({f"a_rather_long_metric_name_{place}" * 9: place for place in range(100)})
    for _ in range(500):
        status.events.add(time=STARTED, level="error", source="worker-1" * 50, text="<&>" * 5000)
    status.failure.message = "<" * 100_000
    status.failure.traceback = "&" * 1_000_000
    status.outputs.extend(["x" * 10_000] * 1000)
    assert len(render_static(status)) < 160_000
    assert len(render_live(status)) < 100_000
    status.ClearField("failure")
    del status.events[:], status.outputs[:]
    assert len(render_static(status)) < 65_000


def test_a_worker_without_throughput_has_a_dash() -> None:
    status = pb.JobStatus(name="j", phase=pb.RUNNING, instances=[worker(0, records_per_second=math.nan)])
    assert "–" in text_of(render_live(status))


@pytest.mark.parametrize("phase", [pb.RUNNING, pb.SUCCEEDED])
def test_a_loss_that_is_not_finite_shows_in_the_first_line(phase):
    losses = [pb.LossPoint(step=1, loss=0.5), pb.LossPoint(step=2, loss=math.nan), pb.LossPoint(step=3, loss=0.4)]
    drawn = head(pb.JobStatus(name="j", phase=phase, losses=losses, detail="training"))
    assert (drawn.phase.tone, drawn.detail) == ("warn", "The loss is not finite from step 2 on. training")
    assert head(pb.JobStatus(name="j", phase=phase, losses=losses[:1])).phase.tone != "warn"

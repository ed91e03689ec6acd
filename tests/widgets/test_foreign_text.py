"""Names, messages and numbers from elsewhere: they never become markup, and nothing makes the renderer raise."""

from __future__ import annotations

import base64
import re
from xml.etree import ElementTree

from html_reading import read
from hypothesis import given, settings
from hypothesis import strategies as st
from job_samples import running

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.widgets.format import middle_out, plain, safe, short
from elasticdl_nb.widgets.render import render_live, render_page, render_parts, render_static, render_text

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)>' onload='x]]>--><style>*{display:none}</style>"


def hostile() -> pb.JobStatus:
    status = running(10)
    status.name = status.kind = status.detail = status.distribution_strategy = HOSTILE
    status.phase = pb.FAILED
    status.failure.message = status.failure.traceback = HOSTILE
    status.outputs.append(HOSTILE)
    status.evaluations[0].metrics[HOSTILE] = 1.0
    status.evaluations[1].metrics[HOSTILE] = 2.0
    status.events.add(level="error", source=HOSTILE, text=HOSTILE)
    status.events.add(level=HOSTILE, source="x", text="y")
    status.instances.add(role=HOSTILE, state=HOSTILE, activity=HOSTILE)
    status.dashboard_url = "javascript:alert(1)//" + HOSTILE
    return status


def names(html: str) -> set[str]:
    return {name for name, _ in read(html).elements}


def test_hostile_text_adds_no_element_and_no_attribute() -> None:
    friendly = running(10)
    friendly.phase = pb.FAILED
    friendly.failure.traceback = friendly.failure.message = "x"
    friendly.outputs.append("x")
    for render in (render_live, render_static, lambda status: render_page(status, nonce="n")):
        known = {(name, key) for name, keys in read(render(friendly)).elements for key in (*keys, "")}
        found = {(name, key) for name, keys in read(render(hostile())).elements for key in (*keys, "")}
        assert found <= known


def test_hostile_text_stays_text_within_pictures() -> None:
    pictures = re.findall(r"base64,([^\"]+)", render_static(hostile()))
    assert pictures
    for picture in pictures:
        tree = ElementTree.fromstring(base64.b64decode(picture))
        assert not [element for element in tree.iter() if element.tag.endswith(("script", "image"))]


def test_only_web_addresses_become_links() -> None:
    status = running(10)
    assert "href=" in render_parts(status)["head"]
    for url in ("javascript:alert(1)", "data:text/html,x", "http://[", "", "http://x\n"):
        status.dashboard_url = url
        assert "href=" not in render_parts(status)["head"]


def test_the_static_form_does_not_hold_the_dashboards_token() -> None:
    assert "token" not in render_static(running())


def test_terminal_escapes_and_marks_of_direction_are_taken_out() -> None:
    assert plain("\x1b[31mred\x1b[0m \x1b]0;title\x07a\u202eb\x00c\td\n") == "red abc\td\n"
    assert safe("<a href='x'>&\x08") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"


def test_long_text_is_cut() -> None:
    assert short("a  b\nc", 10) == "a b c"
    assert short("x" * 50, 10) == "x" * 9 + "…"
    assert len(short(" " * 1_000_000 + "x", 10)) <= 10
    cut = middle_out("a" * 500 + "b" * 500, 100)
    assert cut.startswith("a" * 25)
    assert cut.endswith("b" * 75)
    assert "900 characters left out" in cut


numbers = st.floats() | st.sampled_from([0.0, 1e308, -1e308, 5e-324])
counts = st.integers(-(2**63), 2**63 - 1)
small = st.integers(-(2**31), 2**31 - 1)
text = st.text(max_size=30) | st.just(HOSTILE)
words = text | st.sampled_from(["running", "failed", "worker", "master", "ps", "warning", "train"])

statuses = st.builds(
    pb.JobStatus,
    name=text, kind=words, phase=st.integers(0, 9), detail=text, progress=numbers, remaining_seconds=numbers,
    epoch=small, num_epochs=small, records_done=counts, records_total=counts, tasks_done=counts, tasks_total=counts,
    tasks_retried=counts, records_per_second=numbers, step=counts, started_at=numbers, updated_at=numbers,
    finished_at=numbers, distribution_strategy=text, dashboard_url=text, outputs=st.lists(text, max_size=3),
    losses=st.lists(st.builds(pb.LossPoint, step=counts, loss=numbers, time=numbers), max_size=60),
    evaluations=st.lists(
        st.builds(pb.Evaluation, step=counts, metrics=st.dictionaries(text, numbers, max_size=3)), max_size=4),
    instances=st.lists(
        st.builds(pb.Instance, role=words, index=small, state=words, activity=text, tasks_done=counts,
                  records_done=counts, records_per_second=numbers, restarts=small), max_size=5),
    events=st.lists(st.builds(pb.Event, time=numbers, level=words, source=text, text=text), max_size=4),
    failure=st.none() | st.builds(pb.Failure, message=text, traceback=text),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(statuses)
def test_whatever_a_status_holds_is_drawn_well_formed(status: pb.JobStatus) -> None:
    known = {"style", "div", "span", "a", "i", "b", "svg", "rect", "line", "text", "path", "circle", "dl", "dt", "dd",
             "small", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "ul", "li", "details", "summary",
             "pre"}  # fmt: skip
    assert names(render_live(status)) <= known
    assert names(render_static(status)) <= known | {"img", "br", "code"}
    for picture in re.findall(r"base64,([^\"]+)", render_static(status)):
        ElementTree.fromstring(base64.b64decode(picture))
    read(render_page(status, nonce="n"))
    assert render_text(status)

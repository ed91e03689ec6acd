from __future__ import annotations

import random

from elasticdl_nb.images.progress import BuildLog, ImageStatus, PushLog
from elasticdl_nb.images.recipe import Recipe
from elasticdl_nb.images.showing import PlainLines, headline
from elasticdl_nb.widgets.image import render_image

STEPS = Recipe("base", "elasticdl_nb==1", ("requirements.txt",)).steps()


def build(*texts: str) -> BuildLog:
    log = BuildLog(STEPS)
    for text in texts:
        log.feed({"stream": text})
    return log


def test_a_build_knows_the_step_it_is_at() -> None:
    place = next(
        place
        for place, step in enumerate(STEPS)
        if step.instruction.startswith("RUN") and "framework.txt" in step.instruction
    )
    log = build(
        f"Step {place + 1}/{len(STEPS)} : RUN x", "\n", " ---> Running in 12\n", "Collecting \x1b[1mkeras\x1b[0m\n"
    )
    assert log.status == ImageStatus("build", "framework's dependencies", place, len(STEPS), "Collecting keras")
    assert log.step is STEPS[place]


def test_a_failed_build_keeps_what_its_last_step_said() -> None:
    log = build("Step 1/9 : FROM base\n", "one\n", "Step 2/9 : RUN x\n", "two\nthree https://a:secret@h/\n")
    log.feed({"error": "The command '/bin/sh -c x' returned a non-zero code: 1", "errorDetail": {}})
    assert list(log.lines) == ["two", "three https://***@h/"]
    assert "non-zero code" in log.error


def test_a_build_ends_with_an_image() -> None:
    log = build("Successfully built 0123456789ab\n")
    assert log.image_id == "0123456789ab"
    log.feed({"aux": {"ID": "sha256:ffff"}})
    assert log.image_id == "sha256:ffff"


def test_a_push_adds_up_its_layers() -> None:
    log = PushLog()
    for layer, current in (("a", 10), ("b", 40), ("a", 50), ("b", 100)):
        log.feed({"id": layer, "status": "Pushing", "progressDetail": {"current": current, "total": 100}})
    assert (log.status.done, log.status.total) == (150, 200)
    log.feed({"id": "a", "status": "Pushed", "progressDetail": {}})
    log.feed({"aux": {"Tag": "latest", "Digest": "sha256:00", "Size": 1}})
    assert (log.status.done, log.digest) == (200, "sha256:00")


def test_a_push_never_goes_back_nor_over_its_end() -> None:
    dice = random.Random(3)
    log = PushLog()
    for _ in range(500):
        total = dice.choice([0, 1, 1000])
        event = {
            "id": dice.choice("abc"),
            "status": dice.choice(["Pushing", "Pushed", "Waiting"]),
            "progressDetail": {},
        }
        if dice.random() < 0.7:
            event["progressDetail"] = {"current": dice.randrange(1200), "total": total}
        log.feed(event)
        assert 0 <= log.status.share <= 1


def test_plain_lines_tell_of_what_takes_its_time() -> None:
    lines = PlainLines()
    said = []
    for status in (
        ImageStatus("build", "base image", 0, 9),
        ImageStatus("build", "framework", 3, 9, "Collecting keras"),
        ImageStatus("build", "framework", 3, 9, "Installing keras"),
        ImageStatus("push", "push", 0, 0),
        *(ImageStatus("push", "push", done, 100_000_000) for done in range(1, 100_000_000, 1_000_000)),
        ImageStatus("done", "pushed", image="zoo@sha256:00", seconds=3),
    ):
        said += lines.feed(status)
    assert said[0] == "Building the image: framework"
    assert len(said) == 1 + 5 + 1
    assert said[-1] == "Image pushed in 3s: zoo@sha256:00"


def test_the_notebook_shows_it_without_trusting_what_was_said() -> None:
    status = ImageStatus("build", "framework", 3, 6, "<script>alert(1)</script>")
    html = render_image(status)
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert 'aria-valuenow="50"' in html
    assert headline(status) in html

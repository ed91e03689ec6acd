"""What `job.plot` shows."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from job_samples import prediction, running

from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.widgets.figure import figure
from elasticdl_nb.widgets.liveoutput import live_bundle


def texts(svg: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("}text")]


def test_one_job_shows_training_validation_and_what_happened(tmp_path: Path) -> None:
    status = running()
    for place, evaluation in enumerate(status.evaluations):
        evaluation.metrics["loss"] = 0.6 - place / 20
    status.events[2].mark = "left"
    status.history.add(step=600, logs={"learning_rate": 0.1})
    status.history.add(step=1200, logs={"learning_rate": 0.01})
    drawn = figure([status])
    shown = texts(drawn.svg)
    assert "validation 0.4" in shown and "step" in shown and {"−", "◆", "η"} <= set(shown)
    assert "learning rate 0.01" in drawn.svg and "killed by signal 9" in drawn.svg
    assert "loss from" in drawn.text and "validation from" in drawn.text
    drawn.save(tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text() == drawn.svg
    assert drawn._repr_mimebundle_()["text/html"].startswith("<img ")


def test_jobs_are_compared_by_name() -> None:
    other = running()
    other.name = "<earlier>"
    drawn = figure([running(), other])
    shown = texts(drawn.svg)
    assert any(text.startswith("flights-deepfm 0.") for text in shown)
    assert any(text.startswith("<earlier> 0.") for text in shown)
    assert texts(figure([running(), other], "auc").svg)[0] == "auc"


def test_the_scale_is_as_asked_for() -> None:
    assert "log scale" in texts(figure([running()], logarithmic=True).svg)[-1]
    assert "log scale" not in texts(figure([running()], logarithmic=False).svg)[-1]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(JobError, match=r"no 'f1' yet; it has: accuracy, auc, mean_squared_error, loss"):
        figure([running()], "f1")
    with pytest.raises(JobError, match="predict-1 has no 'loss' yet; it has: nothing to plot"):
        figure([prediction()])
    with pytest.raises(JobError, match="6 jobs at most, not 7"):
        figure([running()] * 7)


def test_the_picture_of_a_running_job_does_not_carry_what_only_a_page_needs() -> None:
    assert "data-hover" not in live_bundle(running(), "view", "identity")["text/html"]

from __future__ import annotations

import json
from pathlib import Path

import pytest

from elasticdl_nb.capture import capture_notebook
from elasticdl_nb.given.zoosource import fetch_zoo
from elasticdl_nb.runtime.errors import CaptureError, OptionError

CELLS = [
    "%load_ext elasticdl_nb\nimport numpy as np, json\nimport pandas as pd",
    "frame = pd.read_csv('flights.csv')\nframe.head()",
    "!ls\nUNITS = 16\nSCALE = 2 * UNITS\nOTHER = 3",
    "def scale(x):\n    return np.asarray(x) * SCALE",
    "%%elasticdl_train --model_def=custom_model\n--data=x\n\ndef custom_model():\n    return scale(UNITS)",
    "job.wait()\nprint(job.metrics)",
]


def write(path: Path, cells: list[str]) -> Path:
    entries = [{"cell_type": "markdown", "source": ["# Title"]}]
    entries += [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    path.write_text(json.dumps({"cells": entries, "nbformat": 4}))
    return path


def test_definitions_and_what_they_need_are_taken_and_nothing_else(tmp_path: Path) -> None:
    captured = capture_notebook(write(tmp_path / "models.ipynb", CELLS))
    space: dict[str, object] = {}
    exec(captured.source, space)
    assert space["custom_model"]() == 512  # type: ignore[operator]
    assert not {"frame", "pd", "json", "OTHER", "job"} & set(space)
    assert [line.partition("=")[0].rstrip(">~") for line in captured.requirements] == ["numpy"]


def test_a_notebook_is_a_zoo(tmp_path: Path) -> None:
    zoo = fetch_zoo(str(write(tmp_path / "models.ipynb", CELLS)), tmp_path / "zoo")
    assert sorted(path.name for path in zoo.path.iterdir()) == ["models.py", "requirements.txt"]
    assert zoo.digest == fetch_zoo(str(tmp_path / "models.ipynb"), tmp_path / "again").digest


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([], "defines no functions or classes"),
        (["x = 1"], "defines no functions or classes"),
        (["api_key = 'k3y-0123456789'\ndef f():\n    return api_key"], "looks like a credential"),
        (["def f():\n    return missing_name"], "'missing_name'"),
    ],
)
def test_what_cannot_be_a_zoo_says_why(tmp_path: Path, cells: list[str], said: str) -> None:
    with pytest.raises(CaptureError, match=said):
        capture_notebook(write(tmp_path / "models.ipynb", cells))


def test_its_name_must_be_that_of_a_module(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="my models"):
        fetch_zoo(str(write(tmp_path / "my models.ipynb", CELLS)), tmp_path / "zoo")

"""Models in the styles of well-known Keras examples, trained in a notebook cell with one line changed, and by `fit`.

The cells are written for these tests: tabular data, texts, recommendation. Each defines `model`, compiled, and its
data: `x` and `y`, or `data` (a dataset). Both trainings start from the same weights and see the same batches.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell

CELLS = sorted((Path(__file__).parent / "cells").glob("*.py"))
BEFORE = "import keras\nkeras.backend.clear_session()\nkeras.utils.set_random_seed(7)"
TRAIN = (
    "import elasticdl_nb\n"
    "job = elasticdl_nb.train(model, data={data}, minibatch_size=16, num_epochs=2, shuffle=False, wait=True{options})"
)


@pytest.fixture
def shell() -> Any:
    shell = InteractiveShell.instance()
    shell.reset(new_session=True)
    yield shell
    shell.reset(new_session=True)
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("path", CELLS, ids=lambda path: path.stem)
def test_a_model_is_trained_as_fit_trains_it(path: Path, shell: InteractiveShell) -> None:
    names = shell.user_ns
    for cell in (BEFORE, path.read_text()):
        shell.run_cell(cell, store_history=True).raise_error()
    is_dataset = "data" in names
    options = ", **options" if "options" in names else ""
    train = TRAIN.format(data="data" if is_dataset else "(x, y)", options=options)
    shell.run_cell(train, store_history=True).raise_error()
    model, job = names["model"], names["job"]
    given = (names["data"],) if is_dataset else (names["x"], names["y"])
    size = {} if is_dataset else {"batch_size": 16}
    history = model.fit(*given, epochs=2, shuffle=False, verbose=0, **size, **names.get("options", {})).history
    assert job.history["loss"] == pytest.approx(history["loss"], rel=1e-5)
    for mine, other in zip(job.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-5, atol=1e-5)

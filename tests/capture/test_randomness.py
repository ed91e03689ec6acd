"""Seeds that a notebook has set, in whatever way, are set in its package."""

from __future__ import annotations

import importlib
import random
from pathlib import Path

import numpy as np
import pytest
from notebook_shell import Loaded, Notebook

DRAW = "import numpy as np, random\ndef f(): return float(np.random.rand()), random.random()"


def first_numbers(seed: int) -> tuple[float, float]:
    return float(np.random.RandomState(seed).rand()), random.Random(seed).random()


@pytest.mark.parametrize(
    "seeding",
    [
        "import random, numpy\nrandom.seed(4)\nnumpy.random.seed(4)",
        "from numpy.random import seed\nfrom random import seed as other\nseed(4); other(4)",
        "import random, numpy\nSEED = 4\ndef fix(n):\n    random.seed(n)\n    numpy.random.seed(n)\nfix(SEED)",
        "from utils_seed import seed_everything\nimport many_numbers\nseed_everything()",
        "import random, numpy\nfor seed in (1, 2, 4):\n    random.seed(seed)\n    numpy.random.seed(seed)",
    ],
)
def test_random_numbers_begin_with_the_seed_of_the_notebook(notebook: Notebook, seeding: str) -> None:
    Path("utils_seed.py").write_text(
        "import random\nimport numpy as np\n"
        "def seed_everything(seed=4):\n    random.seed(seed)\n    np.random.seed(seed)\n"
    )
    Path("many_numbers.py").write_text(f"# none of them is a seed\nNUMBERS = {list(range(5000, 5300))}\n")
    importlib.invalidate_caches()
    notebook.run(seeding, DRAW, "for _ in range(700): f()")
    captured = notebook.capture("f")
    assert "np.random.seed(4)\n" in captured.source and "\nrandom.seed(4)\n" in captured.source
    assert Loaded(captured).value("f()") == first_numbers(4)


def test_a_seed_that_nobody_knows_leaves_the_state_as_it_is(notebook: Notebook) -> None:
    notebook.run("import numpy as np\nnp.random.seed(sum([2000, 24]))\nnp.random.rand()", DRAW)
    captured = notebook.capture("f")
    expected = np.random.RandomState()
    expected.set_state(np.random.get_state())
    assert Loaded(captured).value("f()[0]") == expected.rand()


def test_random_numbers_without_a_seed_get_none(notebook: Notebook) -> None:
    notebook.run(DRAW, "def seed_everything(n): random.seed(n); np.random.seed(n)", "f()")
    assert "seed" not in notebook.capture("f").source

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from notebook_shell import Notebook


@pytest.fixture(autouse=True)
def no_seeds_of_other_tests() -> None:
    """A seed that a test has set in this process would be captured as one that the notebook has set."""
    random.seed()
    if "numpy" in sys.modules:
        numpy = sys.modules["numpy"]
        numpy.random.set_bit_generator(numpy.random.MT19937())
    if "keras" in sys.modules:
        from keras.src.backend.common import global_state
        from keras.src.utils import rng_utils

        global_state.set_global_attribute(rng_utils.GLOBAL_RANDOM_SEED, None)
    if "tensorflow" in sys.modules:
        sys.modules["tensorflow"].random.set_seed(None)


@pytest.fixture
def notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Notebook]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    main, hooks = sys.modules["__main__"], (sys.displayhook, sys.excepthook)
    notebook = Notebook()
    sys.modules["__main__"] = notebook.shell.user_module
    yield notebook
    notebook.recorder.stop()
    sys.modules["__main__"] = main
    sys.displayhook, sys.excepthook = hooks
    for name in sys.modules.keys() - before:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)) or name.startswith("captured_"):
            del sys.modules[name]

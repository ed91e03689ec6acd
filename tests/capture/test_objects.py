"""`capture_objects`: from the objects of a running script or notebook to a module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture import capture_objects
from elasticdl_nb.runtime.errors import CaptureError

SCRIPT = '''
from __future__ import annotations
import json, sys
import math
from local_part import offset
from elasticdl_nb.capture import capture_objects, write_zoo

SCALE = 3

class Model:
    """A model."""
    def call(self, x): return helper(x) + offset

def helper(x):
    return math.floor(x) * SCALE

def unrelated():
    raise RuntimeError

def main():
    captured = capture_objects({"Model": Model, "loss": my_loss, "limit": 4})
    write_zoo(captured, sys.argv[1], "model")
    print(json.dumps(captured.cells))

if __name__ == "__main__":
    def my_loss(a, b): return a - b - LATE
    LATE = int(sys.argv[2])
    main()
    raise_if_imported()
'''


def test_running_script_is_packaged_without_what_it_runs(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(SCRIPT)
    (tmp_path / "local_part.py").write_text("offset = 100\n")
    script = subprocess.run(
        [sys.executable, "train.py", "zoo", "2"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "NameError: name 'raise_if_imported'" in script.stderr and script.stdout == "[0]\n", script.stderr
    source = (tmp_path / "zoo" / "model.py").read_text()
    assert "train.py" in source and "unrelated" not in source and "capture_objects" not in source
    shown = subprocess.run(
        [sys.executable, "-c", "import model; print(model.Model().call(2.5), model.loss(9, 1), model.limit)"],
        cwd=tmp_path / "zoo", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shown.stdout == "106 6 4\n"


IN_A_FUNCTION = """
import sys
import keras, numpy as np, pandas as pd
from elasticdl_nb.capture import capture_objects, write_zoo

MEANS = np.array([1.0, 2.0])
FRAME = pd.DataFrame({"a": [3.0, 4.0]})
model = "something else"

def custom_model():
    inputs = keras.Input((2,))
    return keras.Model(inputs, keras.layers.Dense(1)(inputs - MEANS - FRAME["a"].values))

def main():
    made = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    made.set_weights([np.array([[2.0]]), np.array([3.0])])
    objects = {
        "custom_model": custom_model, "model_given": made, "optimizer": keras.optimizers.SGD(0.25),
        "callbacks": [keras.callbacks.EarlyStopping(patience=7)],
    }
    write_zoo(capture_objects(objects), sys.argv[1], "model")

main()
"""
WHAT_CAME = """
import numpy, model as m
print(m.model_given.predict(numpy.array([[5.0]]), verbose=0)[0, 0], float(m.optimizer.learning_rate.numpy()),
      m.callbacks[0].patience, len(m.custom_model().operations), m.MEANS, m.FRAME["a"].tolist())
"""


def test_objects_of_keras_may_be_made_in_functions_and_functions_may_use_arrays_and_frames(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(IN_A_FUNCTION)
    subprocess.run([sys.executable, "train.py", "zoo"], cwd=tmp_path, capture_output=True, check=True)
    shown = subprocess.run(
        [sys.executable, "-c", WHAT_CAME], cwd=tmp_path / "zoo", capture_output=True, text=True, check=True
    )
    assert shown.stdout == "13.0 0.25 7 4 [1. 2.] [3.0, 4.0]\n"


def test_objects_of_a_notebook_come_from_its_history(notebook: Notebook) -> None:
    notebook.run("K = 2\ndef custom_loss(x): return x * K\nclass M:\n    class Inner:\n        v = 5", "K = 3")
    ns = notebook.shell.user_ns
    from IPython.core import getipython  # the session that `IPython.get_ipython()` gives

    singleton = getipython.get_ipython()
    assert singleton is None or singleton.user_ns is not ns
    type(notebook.shell)._instance = notebook.shell
    try:
        packaged = capture_objects({"loss": ns["custom_loss"], "M": ns["M"], "inner": ns["M"].Inner})
    finally:
        type(notebook.shell)._instance = None
    loaded = Loaded(packaged)
    assert (loaded.value("loss(5)"), loaded.value("inner.v"), loaded.value("M.Inner.v")) == (15, 5, 5)


def test_objects_of_installed_modules_are_imported() -> None:
    import json

    packaged = capture_objects({"encode": json.dumps, "Encoder": json.JSONEncoder})
    assert Loaded(packaged).value("encode([1])") == "[1]"
    assert packaged.requirements == []


def test_local_functions_are_refused_with_the_cure() -> None:
    def local() -> None: ...

    with pytest.raises(CaptureError, match=r"'f' is the function .*local, defined inside a function; move it"):
        capture_objects({"f": local})

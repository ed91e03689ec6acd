"""Importing Keras without what it imports only for wrappers and galleries."""

import subprocess
import sys

PROGRAM = """
import gc, sys
from elasticdl_nb.runtime.imports import only_what_computes

with only_what_computes():
    import keras
    assert not gc.isenabled()
assert gc.isenabled()
print("imported:", sorted({"sklearn", "matplotlib"} & set(sys.modules)))

import pandas, sklearn.linear_model, matplotlib.pyplot

with only_what_computes():
    import sklearn, matplotlib
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(pandas.DataFrame({"a": [1.0, 2.0]}), pandas.Series([1.0, 2.0]), verbose=0)
print("trained on a frame")
"""


def test_keras_comes_without_the_packages_it_has_no_use_for_and_they_can_be_imported_after_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == ["imported: []", "trained on a frame"]

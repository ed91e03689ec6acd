# ruff: noqa: E501 - a cell is a line here
"""What once went wrong, line by line, and the test of each line: those that no other file has are here.

A name without a file is one of this file; `state:` are names in the table of test_state.py, `keras:` in that of
test_state_keras.py, `refusal:` in that of test_refusals.py, `python:` in that of scenarios_python.py.

A. Changed later, by whoever else holds the object
- a base frozen or unfrozen after the model was built: `keras: base unfrozen after the model was built`, `keras: base
  frozen after a functional model was built`, `keras: head frozen after it was added`, `keras: layers frozen in a loop, …`
- a dict, object, array, list in a partial or a closure: `state: dict that an object holds` and the four that follow it
- defaults, class attributes, registries: `state: default argument`, `state: class attribute`, `state: registry of a
  class, filled later`, `state: attribute of a base`
B. Changed by methods of libraries
- vocabularies: `keras: lookup with a vocabulary set later`
- set_weights, assign, weights of a donor: `keras: pretrained embedding`, `keras: assigned rows`, `keras: weights of
  another model`
- lora, quantization, exclude_from_weight_decay: `keras: lora`, `keras: quantized`, `keras: optimizer changed and used`
- ConfigParser, MimeTypes, tokenizers: `state: configparser`, `state: mimetypes`, "library object that fills itself"
- training in a helper or with a tape: `keras: trained by fit and in a loop with a tape`, and the note:
  test_training_in_a_helper_is_noted
C. Changed through helpers, loops, containers
- layers adapted: `keras: adapted in a helper, in loops, on a frame`
- scalers fitted: `state: scaler fitted in a helper`, `state: scalers in a loop over a dict`, "scalers in a loop over zip"
- a helper that changes and shows: `keras: layers frozen in a loop, in a comprehension, in helpers`
- a helper that compiles: `keras: compiled in a helper with own loss`
- lambdas, methods, stacks, comprehensions: `keras: helper that walks with a stack, lambda and method` and the one above
D. Methods whose results are used: `state: learn() whose result is kept`, `state: __call__, map and __missing__`,
  `state: overloaded operators`, `state: vars() and __dict__`, `state: patched by annotation`
E. Settings of the process
- under any name, in a helper: `keras: settings under any name`, test_settings_under_other_names
- custom objects, registered classes that are only named: `keras: custom objects`, "class that is only registered"
- modules imported for what they do, attributes that other modules read: `state: modules that are imported for what they
  do`, "attribute of a submodule that another module reads"
F. Values that crashed: `state: functions of NumPy as values`, `state: odd numbers of NumPy`, `state: hostile
  __getattr__`, "iterator over an array"
G. Classes from factories and decorators, named by an option: `state: class from a factory`, `state: class replaced by
  its decorator`, test_objects_are_named_by_their_global_names
H. Refused without need
- `except … as e`, branches that did not run: `state: except … as e in a branch that ran`, `state: branch that did not run`
- tensors made of calls: `keras: tensors, variables, tables`
- values taken from frames: `state: values taken from a frame`, `state: label encoder and its classes`
- losses and optimizers that are objects, partials, tf.functions: test_objects_are_named_by_their_global_names
I. Other values
- long nested lists, random values, times: `state: long nested lists`, `state: random values drawn once`, `state: time
  with a zone`
- values read from files: "values read from files that are gone"; models: `keras: saved and loaded .keras` of
  scenarios_keras.py
- a module edited after its import: `python: %%writefile edited after import, no reload`
- modules imported by other means: `python: modules imported by calls`, `refusal: module made by hand`
J. Credentials: `refusal: address with a password` and the four that follow it, test_credentials_of_packages
K. Words: test_a_class_on_its_own_earlier_version_is_no_reason_to_warn, test_names_of_ipython_are_no_suggestion,
  test_data_that_a_layer_was_adapted_to_is_not_needed, test_objects_are_named_by_their_global_names
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture import verify
from elasticdl_nb.given.namedobjects import name_objects
from elasticdl_nb.runtime.errors import CaptureError

# name -> (cells, names to package, expressions)
REPORTED: dict[str, tuple[list[str], list[str], list[str]]] = {
    "library object that fills itself": (["import collections, gettext\nt = gettext.NullTranslations()\nn = t.add_fallback(gettext.NullTranslations())\nm = collections.ChainMap()\nd = m.setdefault('a', [1])", "def f(): return type(t._fallback).__name__, m['a']"], ["f"], ["f()"]),
    "scalers in a loop over zip": (["import numpy as np\nfrom sklearn.preprocessing import StandardScaler\nX = np.arange(12.0).reshape(4, 3)\nscalers, columns = [StandardScaler(), StandardScaler()], [0, 2]", "for s, c in zip(scalers, columns): s.fit(X[:, [c]])", "def f(): return [s.mean_.tolist() for s in scalers]"], ["f"], ["f()"]),
    "attribute of a submodule that another module reads": (["import os\nos.makedirs('cfg_src')\nfor n, t in {'__init__': '', 'config': 'N = 1', 'reader': 'from cfg_src import config\\ndef get(): return config.N'}.items(): open(f'cfg_src/{n}.py', 'w').write(t)", "import cfg_src.config, cfg_src.reader\ncfg_src.config.N = 5", "from cfg_src.reader import get\ndef f(): return get()"], ["f"], ["f()"]),
    "values read from files that are gone": (["import json, joblib, os\nfrom sklearn.preprocessing import StandardScaler\njson.dump({f'w{i}': i for i in range(9)}, open('voc_gone.json', 'w'))\njoblib.dump(StandardScaler().fit([[1.0], [3.0]]), 's_gone.joblib')", "vocab = json.load(open('voc_gone.json'))\nscaler = joblib.load('s_gone.joblib')\nos.remove('voc_gone.json'); os.remove('s_gone.joblib')", "def f(): return vocab['w3'], scaler.mean_.tolist()"], ["f"], ["f()"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REPORTED)
def test_the_package_computes_what_the_notebook_does(notebook: Notebook, name: str) -> None:
    cells, names, expressions = REPORTED[name]
    notebook.run(*cells)
    captured = notebook.capture(*names)
    verify(captured, names)
    loaded = Loaded(captured)
    assert [repr(loaded.value(one)) for one in expressions] == [repr(notebook.value(one)) for one in expressions]


def test_an_iterator_over_an_array_is_refused_by_name(notebook: Notebook) -> None:
    notebook.run("import numpy as np\nflat = np.ones(3).flat", "def f(): return next(flat)")
    with pytest.raises(CaptureError, match=r"'flat' \(used by f\) is a flatiter"):
        notebook.capture("f")


# ------------------------------------------------------------------ Keras


def test_training_in_a_helper_is_noted(notebook: Notebook) -> None:
    notebook.run(
        "import keras, numpy as np\nmodel = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\nmodel.compile('sgd', 'mse')",
        "def train(m): m.fit(np.ones((4, 2)), np.ones(4), verbose=0)\ntrain(model)",
    )
    assert notebook.capture("model").notes == (
        "starts from the notebook's weights of `model`; pass --from_scratch for initial ones",
    )


def test_settings_under_other_names(notebook: Notebook) -> None:
    notebook.run(
        "import tensorflow as tf\nimport keras\nfrom keras.config import set_dtype_policy\nbefore = keras.config.dtype_policy()",
        "@keras.saving.register_keras_serializable(package='reported')\nclass OnlyRegistered(keras.layers.Layer): pass",
        "def setup(): tf.keras.mixed_precision.set_global_policy('mixed_float16')\nsetup()",
        "LAYER = {'module': None, 'class_name': 'OnlyRegistered', 'config': {}, 'registered_name': 'reported>OnlyRegistered'}\n"
        "def f(): return keras.config.dtype_policy().name, type(keras.saving.deserialize_keras_object(LAYER)).__name__",
    )
    try:
        captured = notebook.capture("f")
        assert 'set_dtype_policy("mixed_float16")' in captured.source and "class OnlyRegistered" in captured.source
        notebook.run("set_dtype_policy('mixed_bfloat16')")
        assert 'set_dtype_policy("mixed_bfloat16")' in notebook.capture("f").source
    finally:
        # Other tests of this process need what else is registered.
        notebook.run(
            "keras.config.set_dtype_policy(before)\ndel keras.saving.get_custom_objects()['reported>OnlyRegistered']"
        )


def test_data_that_a_layer_was_adapted_to_is_not_needed(notebook: Notebook) -> None:
    notebook.run(
        "import keras, numpy as np\nnorm = keras.layers.Normalization(axis=None)\ndf = {'p': np.arange(5.0)}\nnorm.adapt(df['p'])\ndel df",
        "class Net(keras.Model):\n    def call(self, x): return norm(x)",
    )
    assert not Loaded(notebook.capture("Net")).value("Net()(norm.mean + 0.0)").numpy().any()


def test_objects_are_named_by_their_global_names(notebook: Notebook) -> None:
    notebook.run(
        "import keras\nimport tensorflow as tf\nfrom functools import partial\n"
        "my_loss = keras.losses.Huber(2.0)\nbound = partial(keras.losses.huber, delta=2.0)\n@tf.function\ndef graph(t, p): return t - p\nopt = keras.optimizers.SGD(0.5)",
        "def make(n):\n    class Inner(keras.Model):\n        size = n\n    return Inner\nMade = make(3)\n_net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])",
        "def deco(cls):\n    class Wrapped(cls): extra = 1\n    return Wrapped\n@deco\nclass Own(keras.Model): pass",
    )
    value, module = notebook.value, "captured_from_session."
    for name in ("my_loss", "bound", "graph"):
        assert name_objects("train", {"loss": value(name)}).options == {"loss": module + name}
    assert name_objects("train", {"optimizer": value("opt")}).options == {"optimizer": module + "opt"}
    for name in ("Made", "Own", "_net"):
        assert name_objects("train", {"model_def": value(name)}).options == {"model_def": module + name}
    loaded = Loaded(notebook.capture("my_loss", "bound", "graph", "opt", "Made", "Own", "_net"))
    assert float(loaded.value("my_loss")([[5.0]], [[0.0]])) == 8.0
    assert (loaded.value("bound.keywords"), loaded.value("Made.size"), loaded.value("Own.extra")) == (
        {"delta": 2.0},
        3,
        1,
    )
    assert float(loaded.value("graph(3.0, 1.0)")) == 2.0 and float(loaded.value("opt.learning_rate")) == 0.5
    assert loaded.value("_net.count_params()") == 3


# ------------------------------------------------------------------ credentials and words


def test_credentials_of_packages(notebook: Notebook) -> None:
    Path("cred_pkg").mkdir()
    for name, text in {
        "__init__": "",
        "model": "from cred_pkg import used\n",
        "used": "N = 1\n",
        "settings": "API_KEY = 'abc123'\n",
    }.items():
        Path(f"cred_pkg/{name}.py").write_text(text)
    notebook.run("from cred_pkg import model\ndef f(): return model")
    captured = notebook.capture("f")
    assert "cred_pkg/settings.py" not in captured.modules
    assert any("cred_pkg/settings.py is not packaged" in one and "API_KEY" in one for one in captured.warnings)
    Path("cred_pkg/used.py").write_text("N = 1\nURL = 'postgresql://bob:hunter2@db.example.com/x'\n")
    with pytest.raises(
        CaptureError, match=r"cred_pkg/used\.py, line 2, contains what looks like a credential.*# not a secret"
    ):
        notebook.capture("f")
    for name in [one for one in sys.modules if one.startswith("cred_pkg")]:
        del sys.modules[name]


def test_a_class_on_its_own_earlier_version_is_no_reason_to_warn(notebook: Notebook) -> None:
    notebook.run("class Net:\n    v = 1", "class Net(Net):\n    w = 2")
    captured = notebook.capture("Net")
    assert not captured.warnings and Loaded(captured).value("(Net.v, Net.w)") == (1, 2)


def test_names_of_ipython_are_no_suggestion(notebook: Notebook) -> None:
    notebook.run("def f(): return nope")
    with pytest.raises(CaptureError) as refused:
        notebook.capture("f")
    assert "'nope' (used by f) is not defined" in str(refused.value) and "Did you mean" not in str(refused.value)

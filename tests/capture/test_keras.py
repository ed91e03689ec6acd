# ruff: noqa: E501 - a cell is a line here
"""Model notebooks in the forms of the model contract. TensorFlow is loaded once, by the first of them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture import verify

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
X = np.linspace(-1, 1, 12, dtype="float32").reshape(3, 4)

CLASS_NOTEBOOK = [
    "import keras\nimport tensorflow as tf\nfrom keras import layers\n%precision 3",
    "# Injected-Parameters\nhidden_units = [8, 4]\nseed = 7",
    '''
@keras.saving.register_keras_serializable(package="notebook")
class Scale(layers.Layer):
    """Multiplies by a learned factor that starts at FACTOR."""

    def build(self, input_shape):
        self.factor = self.add_weight(name="factor", initializer=keras.initializers.Constant(FACTOR))

    def call(self, inputs):
        return inputs * self.factor
''',
    "FACTOR = 0.5\nCLASS_WEIGHTS = tf.constant([1.0, 2.0])",
    '''
class MyKerasModel(keras.Model):
    def __init__(self, hidden_units=hidden_units, learning_rate=0.1):
        super().__init__()
        make = lambda n: layers.Dense(n, activation=act, kernel_initializer=keras.initializers.GlorotUniform(seed))
        self.blocks = [make(n) for n in hidden_units] + [Scale(), layers.Dense(1, kernel_initializer="ones")]

    def call(self, inputs: tf.Tensor) -> "tf.Tensor":
        for block in self.blocks:
            inputs = block(inputs)
        return inputs

    @staticmethod
    def default_loss(labels, output):
        return tf.reduce_mean(tf.square(labels - output)) * CLASS_WEIGHTS[1]

    def default_optimizer(self, lr=0.01):
        return keras.optimizers.Adam(lr)

    def default_input(self, record):
        return parse(record)
''',
    "def act(x): return tf.nn.relu(x) + 0.1\ndef parse(record): return record[:-1], record[-1]",
]  # fmt: skip

MODULE_NOTEBOOK = [
    "from __future__ import annotations\nimport tensorflow as tf, keras",
    "def custom_model():\n    inputs = keras.Input((4,), name='x')\n    y = inputs\n    for n in UNITS:\n        y = keras.layers.Dense(n, kernel_initializer='ones')(y)\n    return keras.Model(inputs, y)",
    "UNITS = (3, 2)",
    "def dataset_fn(dataset, mode, _):\n    def parse(record):\n        parsed = tf.io.parse_single_example(record, FEATURES)\n        return parsed, parsed.pop('label')\n    return dataset.map(parse)",
    "FEATURES = {'x': tf.io.FixedLenFeature([4], tf.float32), 'label': tf.io.FixedLenFeature([1], tf.int64)}",
    "def loss(labels, output):\n    return tf.reduce_mean(keras.losses.sparse_categorical_crossentropy(labels.flatten(), output, from_logits=True))",
    "def optimizer(lr=0.1): return keras.optimizers.SGD(lr)",
    "def eval_metrics_fn():\n    return {'accuracy': lambda labels, predictions: tf.reduce_mean(tf.cast(labels == tf.argmax(predictions, 1), tf.float32))}",
]  # fmt: skip

TOP_LEVEL_NOTEBOOK = [
    "import keras\nfrom keras.layers import *",
    "keras.utils.set_random_seed(3)",
    "x = inputs = Input((4,))",
    "for units in (5, 3):\n    x = Dense(units, activation='tanh', kernel_initializer=keras.initializers.GlorotUniform(1))(x)",
    "x = Dense(1, kernel_initializer='ones')(x)",
    "model = keras.Model(inputs, x)\nmodel.compile('sgd', loss=keras.losses.MeanSquaredError())",
    "x = 'used for something else now'",
]


def test_model_class_computes_the_same_and_imports_in_a_fresh_process(notebook: Notebook) -> None:
    notebook.run(*CLASS_NOTEBOOK)
    captured = notebook.capture("MyKerasModel")
    loaded = Loaded(captured)
    live_model, model = notebook.value("MyKerasModel()"), loaded.value("MyKerasModel()")
    np.testing.assert_allclose(model(X), live_model(X), rtol=1e-6)
    assert len(model.trainable_variables) == len(live_model.trainable_variables) == 7
    labels = np.ones((3, 1), "float32")
    assert float(model.default_loss(labels, model(X))) == pytest.approx(
        float(live_model.default_loss(labels, live_model(X)))
    )
    assert {line.partition("==")[0] for line in captured.requirements} == {"keras", "numpy", "tensorflow_cpu"}
    verify(captured, ["MyKerasModel"])


def test_module_form_is_packaged_by_the_names_of_its_functions(notebook: Notebook) -> None:
    notebook.run(*MODULE_NOTEBOOK)
    captured = notebook.capture("custom_model", "dataset_fn", "loss", "optimizer", "eval_metrics_fn")
    loaded = Loaded(captured)
    np.testing.assert_allclose(loaded.value("custom_model()")(X), notebook.value("custom_model()")(X))
    assert loaded.value("FEATURES") == notebook.value("FEATURES")
    assert captured.source.count("from __future__ import annotations") == 1


def test_model_built_step_by_step_at_top_level(notebook: Notebook) -> None:
    notebook.run(*TOP_LEVEL_NOTEBOOK, "import numpy as np\nmodel.fit(np.ones((2, 4)), np.zeros((2, 1)), verbose=0)")
    captured = notebook.capture("model")
    loaded = Loaded(captured)
    assert loaded.value("[layer.name.split('_')[0] for layer in model.layers]") == notebook.value(
        "[layer.name.split('_')[0] for layer in model.layers]"
    )
    assert loaded.value("model.loss").name == notebook.value("model.loss").name
    assert "fit" not in captured.source and "something else" not in captured.source
    assert captured.notes == ("starts from the notebook's weights of `model`; pass --from_scratch for initial ones",)
    np.testing.assert_allclose(loaded.value("model")(X), notebook.value("model")(X))


def test_weights_of_a_file_travel_and_are_named(notebook: Notebook) -> None:
    notebook.run(
        "import keras\nmodel = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1, kernel_initializer='ones')])\n"
        "model.save_weights('w.weights.h5')\nmodel.set_weights([w * 0 for w in model.get_weights()])",
        "model.load_weights('w.weights.h5')",
    )
    captured = notebook.capture("model")
    assert any(
        "model starts from the weights that it has now, after load_weights in cell [2]" in one
        for one in captured.warnings
    )
    assert not captured.files
    np.testing.assert_allclose(Loaded(captured).value("model")(X), notebook.value("model")(X))


def test_weights_of_a_file_read_by_a_helper_are_named(notebook: Notebook) -> None:
    notebook.run(
        "import keras\ndef new(): return keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])\n"
        "model, twin, other = new(), new(), new()\nmodel.save_weights('w.weights.h5')",
        "def restore(m): m.load_weights('w.weights.h5')\nclass Trainer:\n    def __init__(self, m): self.m = m\n"
        "    def go(self): return restore(self.m)",
        "restore(model)\ntrainer = Trainer(twin)\ntrainer.go()",
        "def custom_model(): return model, twin, other",
    )
    said = [one for one in notebook.capture("custom_model").warnings if "after load_weights in cell [2]" in one]
    assert [one.split()[0] for one in said] == ["model", "twin"]


def test_a_model_whose_initial_weights_are_unknown_starts_from_those_of_the_notebook(notebook: Notebook) -> None:
    notebook.run(
        "import keras\nclass Scale(keras.layers.Layer):\n"
        "    def build(self, shape): self.w = self.add_weight(shape=(shape[-1],))\n"
        "    def call(self, x): return x * self.w\nmodel = keras.Sequential([keras.Input((4,)), Scale()])",
        "def restore(m): m.set_weights([w * 0 + 3 for w in m.get_weights()])\nrestore(model)",
    )
    assert notebook.capture("model").notes == (
        "starts from the notebook's weights of `model`; pass --from_scratch for initial ones",
    )

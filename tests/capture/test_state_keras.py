# ruff: noqa: E501 - a cell is a line here
"""Keras objects by value: what is frozen, adapted, loaded, quantized or shared in the notebook is so in the package."""

from __future__ import annotations

import os

import pytest
from notebook_shell import Loaded, Notebook

from elasticdl_nb.capture.describe import describe, differences

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SETUP = "import numpy as np, keras, tensorflow as tf\nfrom keras import layers\nX = np.linspace(-1, 1, 12, dtype='float32').reshape(3, 4)"
BASE = "base = keras.Sequential([keras.Input((4,)), layers.Dense(3)], name='base')\nbase.trainable = False"
MODEL = "model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name='a'), layers.Dense(1, name='b')])"

KERAS: dict[str, tuple[list[str], list[str], list[str]]] = {
    # ------------------------------------------------------------ frozen and unfrozen
    "base unfrozen after the model was built": ([BASE, "model = keras.Sequential([keras.Input((4,)), base, layers.Dense(1)])", "base.trainable = True"], ["model"], ["len(model.trainable_weights)", "model(X).numpy().tolist()"]),
    "base frozen after a functional model was built": ([BASE, "i = keras.Input((4,))\nmodel = keras.Model(i, layers.Dense(1)(base(i)))\nbase.trainable = False", "def f(): return model.get_layer('base') is base"], ["model", "f"], ["len(model.trainable_weights)", "f()"]),
    "head frozen after it was added": (["model = keras.Sequential([keras.Input((4,)), layers.Dense(2)])\nhead = layers.Dense(1)\nmodel.add(head)", "head.trainable = False"], ["model"], ["len(model.trainable_weights)"]),
    "layers frozen in a loop, in a comprehension, in helpers": ([MODEL, "for l in model.layers[:1]: l.trainable = False\n[setattr(l, 'trainable', False) for l in model.layers[:1]]\ndef freeze(m):\n    m.layers[1].trainable = False\n    m.summary(print_fn=lambda *a, **k: None)\nfreeze(model)"], ["model"], ["len(model.trainable_weights)"]),
    "helper that walks with a stack, lambda and method": ([MODEL, "def walk(m):\n    todo = list(m.layers)\n    while todo: todo.pop().trainable = False\nclass Prep:\n    def setup(self, m): m.layers[0].trainable = True\nwalk(model)\nPrep().setup(model)\n(lambda m: setattr(m.layers[0], 'note', 'kept'))(model)"], ["model"], ["len(model.trainable_weights)", "model.layers[0].note"]),
    "class that uses a base of today": ([BASE, "class Net(keras.Model):\n    def __init__(self):\n        super().__init__()\n        self.base, self.d = base, layers.Dense(1)\n    def call(self, x): return self.d(self.base(x))", "base.trainable = True"], ["Net"], ["(lambda n: (n(X).shape, len(n.trainable_weights)))(Net())"]),
    # ------------------------------------------------------------ weights
    "pretrained embedding": (["emb = layers.Embedding(5, 2, trainable=False)\nemb.build((None,))\nemb.set_weights([np.full((5, 2), 7.0)])"], ["emb"], ["emb(np.array([1])).numpy().tolist()", "emb.trainable"]),
    "assigned rows": (["model = keras.Sequential([keras.Input((3,)), layers.Embedding(50, 2), layers.Flatten(), layers.Dense(1)])", "model.layers[0].embeddings.assign(np.full((50, 2), 7.0))"], ["model"], ["float(model.layers[0].get_weights()[0][3, 1])"]),
    "weights of another model": ([MODEL, "donor = keras.models.clone_model(model)\nmodel.set_weights([w + 1 for w in donor.get_weights()])"], ["model"], ["model(X).numpy().tolist()"]),
    "trained by fit and in a loop with a tape": ([MODEL, "model.compile('adam', 'mse', metrics=['mae'])\nmodel.fit(X, X[:, :1], verbose=0)\ndef step():\n    with tf.GradientTape() as t: l = tf.reduce_mean(model(X) ** 2)\n    model.optimizer.apply_gradients(zip(t.gradient(l, model.trainable_variables), model.trainable_variables))\nfor _ in range(2): step()"], ["model"], ["int(model.optimizer.iterations)", "model(X).numpy().tolist()", "model.evaluate(X, X[:, :1], verbose=0)"]),
    "lora": ([MODEL, "model.layers[0].enable_lora(2)"], ["model"], ["model.layers[0].lora_enabled", "len(model.trainable_weights)", "model(X).numpy().tolist()"]),
    "quantized": ([MODEL, "import warnings\nwith warnings.catch_warnings():\n    warnings.simplefilter('ignore')\n    model.quantize('int8')"], ["model"], ["model.layers[0].dtype_policy.name", "model(X).numpy().tolist()"]),
    # ------------------------------------------------------------ adapted
    "lookup with a vocabulary set later": (["lookup = layers.StringLookup()\nlookup.set_vocabulary(['a', 'b'])\nvec = layers.TextVectorization()\nvec.set_vocabulary(['x', 'y'])\nints = layers.IntegerLookup()\nints.adapt(np.array([3, 3, 5]))"], ["lookup", "vec", "ints"], ["lookup(['a', 'q']).numpy().tolist()", "vec(['x z']).numpy().tolist()", "ints(np.array([5])).numpy().tolist()"]),
    "adapted in a helper, in loops, on a frame": (["import pandas as pd\ndf = pd.DataFrame({'p': [1.0, 3.0], 'q': [0.0, 4.0], 'c': ['u', 'v']})\ndef fit_layer(l, d): l.adapt(d)\nnorm = layers.Normalization(axis=-1)\nfit_layer(norm, df[['p']].to_numpy())\nnorms = {c: layers.Normalization(axis=None) for c in 'pq'}\nfor c, l in norms.items(): l.adapt(df[c].to_numpy())\nlooks = [layers.StringLookup()]\nfor l, c in zip(looks, ['c']): l.adapt(df[c].to_numpy().astype(str))\nbins = layers.Discretization(num_bins=2)\nbins.adapt(df.p.to_numpy())", "def f(): return norm(np.array([[2.0]])).numpy().tolist(), norms['q'](4.0).numpy().tolist(), looks[0](['v']).numpy().tolist(), bins([2.9]).numpy().tolist()"], ["f"], ["f()"]),
    # ------------------------------------------------------------ shared
    "layers in a model and in a list": ([MODEL, "picked = [model.layers[0]]\npicked[0].trainable = False", "def f(): return picked[0] is model.layers[0]"], ["f", "model"], ["f()", "len(model.trainable_weights)"]),
    "two models share an encoder": (["i = keras.Input((4,))\nenc = layers.Dense(3)\nh = enc(i)\nm1, m2 = keras.Model(i, layers.Dense(1)(h)), keras.Model(i, layers.Dense(2)(h))", "def f(): return m1.layers[1] is m2.layers[1], m1.layers[1] is enc"], ["f"], ["f()"]),
    "tensors of a graph under construction": (["i = keras.Input((4,), name='x')\nh = layers.Dense(3)(i)", "def custom_model(): return keras.Model(i, layers.Dense(1, kernel_initializer='ones')(h))"], ["custom_model"], ["custom_model()(X).numpy().tolist()"]),
    "model in a model, inputs by name": (["ins = {c: keras.Input((1,), name=c) for c in 'ab'}\nenc = keras.Sequential([keras.Input((1,)), layers.Dense(2)])\nmodel = keras.Model(ins, layers.Dense(1)(layers.concatenate([enc(v) for v in ins.values()])))"], ["model"], ["model({'a': X[:, :1], 'b': X[:, 1:2]}).numpy().tolist()", "[l.name for l in model.layers]"]),
    "subclassed model with containers and own state": (["class Net(keras.Model):\n    def __init__(self, n):\n        super().__init__()\n        self.ls = [layers.Dense(n), layers.Dense(1)]\n        self.d = {'k': layers.Dense(1)}\n        self.count = 0\n    def call(self, x):\n        for l in self.ls: x = l(x)\n        return x + self.d['k'](x)\nnet = Net(3)\nnet(X)\nnet.count = 4\nnet.ls[0].trainable = False"], ["net"], ["net(X).numpy().tolist()", "net.count", "len(net.trainable_weights)"]),
    # ------------------------------------------------------------ optimizers, losses, metrics and others
    "optimizer changed and used": (["opt = keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10))\nopt.exclude_from_weight_decay(var_names=['bias'])\nsgd = keras.optimizers.SGD(0.1)\nsgd.learning_rate = 0.5"], ["opt", "sgd"], ["opt._exclude_from_weight_decay_pattern", "float(sgd.learning_rate)", "float(opt.learning_rate)"]),
    "compiled in a helper with own loss": ([MODEL, "def my_loss(t, p): return K * tf.reduce_mean((t - p) ** 2)\nK = 2.0\ndef compile_model(m, lr): m.compile(keras.optimizers.SGD(lr), my_loss)\ncompile_model(model, 0.1)"], ["model"], ["model.loss.__name__", "float(model.optimizer.learning_rate)", "model.evaluate(X, X[:, :1], verbose=0)"]),
    "losses, metrics and callbacks": (["loss = keras.losses.BinaryCrossentropy(label_smoothing=0.1)\nauc = keras.metrics.AUC()\nauc.update_state([0, 1], [0.2, 0.7])\nstop = keras.callbacks.EarlyStopping(patience=3)\nstop.wait = 2\nfrom functools import partial\nbound = partial(keras.losses.binary_crossentropy, label_smoothing=0.2)"], ["loss", "auc", "stop", "bound"], ["loss(X, X * 0 + 0.5).numpy().tolist()", "float(auc.result())", "stop.wait", "bound.keywords"]),
    "seeds and generators": (["g = keras.random.SeedGenerator(3)\nkeras.random.uniform((2,), seed=g)\nt = tf.random.Generator.from_seed(4)\nt.normal(())\ndrop = layers.Dropout(0.5, seed=1)"], ["g", "t", "drop"], ["keras.random.uniform((2,), seed=g).numpy().tolist()", "float(t.normal(()))"]),
    "tensors, variables, tables": (["cw = {0: 1.0, 1: 3.0}\nw = tf.constant(list(cw.values()))\nratios = tf.constant([c0 / c for c, c0 in zip(cw.values(), [2.0, 3.0])])\nv = tf.Variable([1.0, 2.0])\nv.assign_add([1.0, 1.0])\nkv = keras.Variable([3.0])\nrag = tf.ragged.constant([[1], [2, 3]])\nvoc = ['a', 'b']\ntable = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(voc, tf.range(len(voc), dtype=tf.int64)), -1)\nmut = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)\nmut.insert(['k'], [4])\nspec = {c: tf.io.FixedLenFeature([], tf.float32) for c in voc}", "def f(): return w.numpy(), ratios.numpy(), v.numpy(), kv.numpy(), rag.to_list(), table.lookup(tf.constant(['b', 'q'])).numpy(), mut.lookup(tf.constant(['k'])).numpy(), sorted(spec)"], ["f"], ["f()"]),
    "decorated with tf.function": (["scale = tf.Variable(2.0)\n@tf.function\ndef my_loss(t, p): return scale * tf.reduce_mean((t - p) ** 2)\nscale.assign(5.0)\nclass M(tf.Module):\n    def __init__(self): self.v = tf.Variable(1.0)\n    @tf.function\n    def __call__(self, x): return x * self.v\nm = M()\nm.v.assign(4.0)"], ["my_loss", "m"], ["float(my_loss(X, X + 1))", "float(m(2.0))"]),
    "layer of one's own with state": (["class Scale(layers.Layer):\n    def build(self, s): self.k = self.add_weight(name='k', initializer='ones')\n    def call(self, x): return x * self.k * self.factor\ns = Scale()\ns.factor = 3.0\ns(X)\ns.k.assign(2.0)"], ["s"], ["s(X).numpy().tolist()"]),
    "strategy scope": (["strategy = tf.distribute.MirroredStrategy(['CPU:0'])\nwith strategy.scope():\n    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])"], ["model"], ["model(X).numpy().tolist()"]),
    "layers named after those of the notebook": (["i = keras.Input((4,))\nh = layers.Dense(3)(i)", "def custom_model(): return keras.Model(i, layers.Dense(1)(h))"], ["custom_model"], ["len({l.name for l in custom_model().layers})"]),
    # ------------------------------------------------------------ settings
    "settings under any name": (["from keras import backend as K, mixed_precision\nfrom keras.utils import set_random_seed\ndef setup():\n    K.set_floatx('float64')\n    K.set_epsilon(1e-5)\nsetup()\nset_random_seed(42)\nmixed_precision.set_global_policy('mixed_bfloat16')", "def f(): return keras.config.floatx(), keras.config.epsilon(), keras.config.dtype_policy().name"], ["f"], ["f()"]),
    "custom objects": (["from keras.saving import get_custom_objects, register_keras_serializable\ndef times(x): return x * 3\nget_custom_objects().update({'triple': times})\n@register_keras_serializable(package='p')\ndef double(x): return x * 2", "def f(): return keras.saving.get_registered_object('triple')(2.0), keras.saving.get_registered_object('p>double')(2.0)"], ["f"], ["f()"]),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _settings_as_they_were():
    import keras
    from keras.src.backend.common import global_state

    policy, floatx, epsilon = keras.config.dtype_policy(), keras.config.floatx(), keras.config.epsilon()
    objects = dict(keras.saving.get_custom_objects())
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_epsilon(epsilon)
    keras.config.set_dtype_policy(policy)
    global_state.set_global_attribute("global_random_seed", None)
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(objects)


@pytest.mark.parametrize("name", KERAS)
def test_the_package_holds_the_keras_objects_of_the_notebook(notebook: Notebook, name: str) -> None:
    cells, names, expressions = KERAS[name]
    notebook.run(SETUP, *cells)
    captured = notebook.capture(*names)
    loaded = Loaded(captured)
    vars(loaded.module).update(
        X=notebook.value("X"), layers=notebook.value("layers"), np=notebook.value("np"), keras=notebook.value("keras")
    )
    there = describe({one: getattr(loaded.module, one) for one in captured.living}, frozenset({loaded.module.__name__}))
    assert not list(differences(describe(captured.living, frozenset({"__main__"})), there)), captured.source
    assert [repr(loaded.value(one)) for one in expressions] == [repr(notebook.value(one)) for one in expressions], (
        captured.source
    )

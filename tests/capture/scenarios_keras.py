# ruff: noqa: E501 - a cell is a line here
"""Notebooks whose objects of Keras, TensorFlow, scikit-learn, pandas and NumPy have been changed in every way."""

from __future__ import annotations

from playing import Scenario

SCENARIOS: dict[str, Scenario] = {}


def s(
    name: str,
    cells: list[str],
    names: str,
    expressions: str | list[str],
    refuse: list[str] | None = None,
    files: dict[str, str] | None = None,
) -> None:
    """Add a notebook: its cells, the names to package, and what must give the same in the package."""
    assert name not in SCENARIOS, name
    asked = [expressions] if isinstance(expressions, str) else expressions
    SCENARIOS[name] = Scenario(cells, names.split(), asked, refuse or [], files or {})


K = "import numpy as np, keras, tensorflow as tf\nfrom keras import layers\nX = np.linspace(-1, 1, 12, dtype='float32').reshape(3, 4)\nXL = X.tolist()"
M = "model = keras.Sequential([keras.Input((4,)), layers.Dense(3, name='a'), layers.Dense(1, name='b')])"
P = "model(np.array(XL, 'float32')).numpy().tolist()"


def k(name: str, cells: list[str], names: str, expressions: str | list[str], refuse: list[str] | None = None) -> None:
    """Add a notebook that begins with the usual imports."""
    s(name, [K, *cells], names, expressions, refuse)


k(
    "dropout seeds etc after calls",
    [
        M,
        "drop = layers.Dropout(0.5, seed=3)\ndrop(X, training=True)",
        "def f(): return drop(np.ones((2, 4), 'float32'), training=True).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "batchnorm moving statistics",
    [
        "model = keras.Sequential([keras.Input((4,)), layers.BatchNormalization(), layers.Dense(1)])\nmodel(X, training=True)\nmodel.layers[0].moving_mean.assign([1., 2., 3., 4.])",
        "def f(): return model(np.array(XL, 'float32')).numpy().tolist()",
    ],
    "f model",
    "f()",
)
k(
    "optimizer slots after training",
    [
        M,
        "model.compile('adam', 'mse')\nmodel.fit(X, X[:, :1], epochs=2, verbose=0)",
        "def f(): return [v.numpy().tolist() for v in model.optimizer.variables]",
    ],
    "f",
    "f()",
)
k(
    "lr assigned, schedule object with state",
    [
        M,
        "opt = keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))\nopt.iterations.assign(20)\nmodel.compile(opt, 'mse')",
        "def f(): return float(opt.learning_rate), float(model.optimizer.learning_rate), model.optimizer is opt",
    ],
    "f",
    "f()",
)
k(
    "own LR schedule class",
    [
        "class S(keras.optimizers.schedules.LearningRateSchedule):\n    def __init__(self): self.k = 1.0\n    def __call__(self, step): return self.k * BASE\nBASE = 0.5\nsch = S()\nsch.k = 3.0",
        "def optimizer(): return keras.optimizers.SGD(sch)",
    ],
    "optimizer",
    "float(optimizer().learning_rate)",
)
k(
    "own optimizer subclass with slots",
    [
        "class MyOpt(keras.optimizers.SGD):\n    def __init__(self, **k): super().__init__(**k); self.calls = 0\nopt = MyOpt(learning_rate=0.1, momentum=0.9)\nv = keras.Variable([1.0])\nopt.build([v])\nopt.apply([np.array([1.0], 'float32')])\nopt.calls = 7",
        "def f(): return opt.calls, [x.numpy().tolist() for x in opt.variables]",
    ],
    "f",
    "f()",
)
k(
    "own metric with state",
    [
        "class Mm(keras.metrics.Metric):\n    def __init__(self, name='mm'):\n        super().__init__(name=name)\n        self.t = self.add_weight(name='t', initializer='zeros')\n        self.factor = FACT\n    def update_state(self, y, p, sample_weight=None): self.t.assign_add(tf.reduce_sum(tf.cast(p, 'float32')))\n    def result(self): return self.t * self.factor\nFACT = 2.0\nmet = Mm()\nmet.update_state([1.], [3.])\nmet.factor = 5.0",
        "def f(): return float(met.result())",
    ],
    "f",
    "f()",
)
k(
    "own loss class with state",
    [
        "class L(keras.losses.Loss):\n    def __init__(self, w=1.0, **k): super().__init__(**k); self.w = w\n    def call(self, y, p): return tf.reduce_mean(self.w * (y - p) ** 2)\nlo = L(2.0)\nlo.w = tf.constant([1.0, 3.0])",
        "def f(): return float(lo(tf.ones((2, 2)), tf.zeros((2, 2))))",
    ],
    "f",
    "f()",
)
k(
    "own callback with state",
    [
        "class CB(keras.callbacks.Callback):\n    def __init__(self): super().__init__(); self.log = []\n    def on_epoch_end(self, e, logs=None): self.log.append(e)\ncb = CB()\ncb.log.append(-1)\ncbs = [cb, keras.callbacks.ReduceLROnPlateau(patience=2)]\ncbs[1].patience = 9",
        "def callbacks(): return cbs",
    ],
    "callbacks",
    "callbacks()[0].log, callbacks()[1].patience",
)
k(
    "callbacks used in a fit",
    [
        M,
        "es = keras.callbacks.EarlyStopping(monitor='loss', patience=5, restore_best_weights=True)\nmodel.compile('sgd', 'mse')\nmodel.fit(X, X[:, :1], epochs=2, callbacks=[es], verbose=0)",
        "def callbacks(): return [es]",
    ],
    "callbacks",
    "callbacks()[0].best, callbacks()[0].wait",
)
k(
    "regularizer, constraint, initializer objects shared",
    [
        "reg = keras.regularizers.L2(0.1)\nini = keras.initializers.RandomNormal(seed=4)\nl1 = layers.Dense(2, kernel_regularizer=reg, kernel_initializer=ini)\nl2 = layers.Dense(2, kernel_regularizer=reg)\nreg.l2 = 0.7",
        "def f(): return l1.kernel_regularizer is l2.kernel_regularizer, float(l1.kernel_regularizer.l2), ini.seed",
    ],
    "f",
    "f()",
)
k(
    "own regularizer function and class",
    [
        "def my_reg(w): return C * tf.reduce_sum(w ** 2)\nC = 0.5\nclass Con(keras.constraints.Constraint):\n    def __init__(self, m): self.m = m\n    def __call__(self, w): return tf.clip_by_value(w, -self.m, self.m)\nlayer = layers.Dense(2, kernel_regularizer=my_reg, kernel_constraint=Con(0.1), kernel_initializer='ones')\nlayer.kernel_constraint.m = 0.2\nlayer.build((None, 4))",
        "def f(): return [float(x) for x in layer.losses], layer.kernel_constraint.m",
    ],
    "f",
    "f()",
)
k(
    "Lambda layer with closure",
    [
        "scale = 3.0\nmodel = keras.Sequential([keras.Input((4,)), layers.Lambda(lambda x: x * scale), layers.Dense(1)])",
        "scale = 5.0",
    ],
    "model",
    P,
)
k(
    "functional with ops and shared layer, intermediate outputs",
    [
        "i = keras.Input((4,))\nd = layers.Dense(4)\nh = keras.ops.relu(d(i)) + d(i * 2.0)\nout = layers.Dense(1)(h)\nmodel = keras.Model(i, out)\nfeat = keras.Model(i, h)\nd.kernel.assign(np.eye(4))",
        "def f(): return feat(np.array(XL, 'float32')).numpy().tolist(), feat.layers[1] is model.layers[1]",
    ],
    "f model",
    ["f()", P],
)
k(
    "model.get_layer replaced & pop & add",
    [M, "model.pop()\nmodel.add(layers.Dense(2, name='c'))\nmodel.get_layer('a').activation = keras.activations.tanh"],
    "model",
    P,
)
k(
    "clone_model, from_config, weights copied",
    [
        M,
        "m2 = keras.models.clone_model(model)\nm2.set_weights(model.get_weights())\nmodel.layers[0].kernel.assign(model.layers[0].kernel * 2)\nm3 = keras.Sequential.from_config(model.get_config())\nm3.set_weights(m2.get_weights())",
    ],
    "m2 m3 model",
    [P, "m2(np.array(XL, 'float32')).numpy().tolist()", "m3(np.array(XL, 'float32')).numpy().tolist()"],
)
k(
    "saved and loaded .keras",
    [M, "model.save('m.keras')\nloaded = keras.models.load_model('m.keras')\nloaded.layers[0].trainable = False"],
    "loaded",
    ["loaded(np.array(XL, 'float32')).numpy().tolist()", "len(loaded.trainable_weights)"],
)
k(
    "function that loads a .keras file at call",
    [M, "model.save('m2.keras')\ndef custom_model(): return keras.models.load_model('m2.keras')"],
    "custom_model",
    "custom_model()(np.array(XL, 'float32')).numpy().tolist()",
)
k(
    "class attribute model and layer",
    [
        "class H:\n    enc = layers.Dense(2, name='enc')\nH.enc.build((None, 4))\nH.enc.trainable = False\nclass Net(keras.Model):\n    def __init__(self): super().__init__(); self.e = H.enc\n    def call(self, x): return self.e(x)"
    ],
    "Net",
    "(lambda n: (n(np.array(XL, 'float32')).numpy().tolist(), len(n.trainable_weights)))(Net())",
)
k(
    "subclassed nested model with dict of layers, called",
    [
        "class Block(layers.Layer):\n    def __init__(self, n, **kw):\n        super().__init__(**kw); self.n = n\n        self.ds = {str(i): layers.Dense(4) for i in range(n)}\n        self.extra = (layers.Dense(4), [layers.Dense(4)])\n    def call(self, x):\n        for d in self.ds.values(): x = d(x)\n        return self.extra[1][0](self.extra[0](x))\nclass Net(keras.Model):\n    def __init__(self): super().__init__(); self.b = Block(2); self.o = layers.Dense(1)\n    def call(self, x): return self.o(self.b(x))\nnet = Net()\nnet(X)\nnet.b.ds['0'].trainable = False\nnet.b.extra[0].kernel.assign(np.eye(4))"
    ],
    "net",
    ["net(np.array(XL, 'float32')).numpy().tolist()", "len(net.trainable_weights)", "[v.path for v in net.weights]"],
)
k(
    "unbuilt subclass model instance configured",
    [
        "class Net(keras.Model):\n    def __init__(self, n=2): super().__init__(); self.n = n; self.d = layers.Dense(n, kernel_initializer='ones')\n    def call(self, x): return self.d(x)\nnet = Net()\nnet.d.units = 5\nnet.note = {'a': [1]}\nnet.note['a'].append(2)"
    ],
    "net",
    ["net(np.array(XL, 'float32')).shape", "net.note"],
)
k(
    "compiled with own functions, lambdas, dict losses",
    [
        "i = keras.Input((4,))\nmodel = keras.Model(i, {'a': layers.Dense(1, name='a')(i), 'b': layers.Dense(1, name='b')(i)})\ndef la(t, p): return W * tf.reduce_mean(tf.abs(t - p))\nW = 2.0\nmodel.compile('sgd', loss={'a': la, 'b': 'mse'}, loss_weights={'a': 0.3, 'b': 0.7}, metrics={'a': ['mae', la]})"
    ],
    "model",
    [
        "float(model.evaluate(np.array(XL, 'float32'), {'a': np.ones((3, 1)), 'b': np.ones((3, 1))}, verbose=0, return_dict=True)['loss'])"
    ],
)
k(
    "tf.Module with variables and functions",
    [
        "class Mod(tf.Module):\n    def __init__(self):\n        super().__init__(name='mod')\n        self.w = tf.Variable(tf.ones((4, 1)), name='w')\n        self.parts = [tf.Variable(1.0)]\n    @tf.function(input_signature=[tf.TensorSpec((None, 4))])\n    def __call__(self, x): return x @ self.w * self.parts[0]\nmod = Mod()\nmod(X)\nmod.parts[0].assign(3.0)"
    ],
    "mod",
    "mod(tf.constant(XL)).numpy().tolist()",
)
k(
    "tf.Variable in dict, list, object, aliased",
    [
        "v = tf.Variable([1.0], name='v')\nd = {'v': v, 'l': [v]}\nd['l'][0].assign([4.0])",
        "def f(): return d['v'].numpy().tolist(), d['v'] is d['l'][0], v is d['v'], v.name",
    ],
    "f",
    "f()",
)
k(
    "tf.lookup tables, mutable changed, text file init",
    [
        "open('voc.txt', 'w').write('a\\nb\\n')\nt1 = tf.lookup.StaticVocabularyTable(tf.lookup.KeyValueTensorInitializer(['x', 'y'], tf.constant([0, 1], tf.int64)), 2)\nt2 = tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer('voc.txt', tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER), -1)",
        "def f(): return t1.lookup(tf.constant(['y', 'q'])).numpy().tolist(), t2.lookup(tf.constant(['b', 'z'])).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "a table that cannot be read",
    ["t3 = tf.lookup.experimental.DenseHashTable(tf.int64, tf.int64, -1, -2, -3)", "def f(): return t3"],
    "f",
    "f()",
    refuse=["'t3'", "DenseHashTable"],
)
k(
    "sparse tensors, indexed slices, ragged, tensor arrays",
    [
        "sp = tf.sparse.from_dense([[1, 0], [0, 2]])\nrg = tf.ragged.constant([[1.0], []])\ns_ = tf.constant(['a', 'ö'])\nbf = tf.constant([1.5], tf.bfloat16)\ncx = tf.constant(1 + 2j)\nbl = tf.constant([True])",
        "def f(): return tf.sparse.to_dense(sp).numpy().tolist(), rg.to_list(), s_.numpy().tolist(), float(bf[0]), complex(cx.numpy()), bl.numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "string lookup variants, hashing, category encoding",
    [
        "sl = layers.StringLookup(num_oov_indices=2, mask_token='', output_mode='multi_hot')\nsl.adapt(['a', 'b', 'b'])\nil = layers.IntegerLookup(vocabulary=[3, 4], invert=True)\nh = layers.Hashing(5, salt=3)\nce = layers.CategoryEncoding(4, output_mode='one_hot')\ntv = layers.TextVectorization(max_tokens=10, output_mode='tf_idf')\ntv.adapt(['a b', 'b c'])",
        "def f(): return sl(['b', 'q']).numpy().tolist(), il([1]).numpy().tolist(), h(['z']).numpy().tolist(), ce([2]).numpy().tolist(), tv(['a c']).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "TextVectorization with own standardize & split",
    [
        "def std(x): return tf.strings.lower(x + SUF)\nSUF = '!'\ntv = layers.TextVectorization(standardize=std, split=lambda x: tf.strings.split(x), output_sequence_length=3)\ntv.adapt(['A B'])\nSUF = '?'",
        "def f(): return tv(['a b']).numpy().tolist(), tv.get_vocabulary()",
    ],
    "f",
    "f()",
)
k(
    "FeatureSpace adapted",
    [
        "fs = keras.utils.FeatureSpace(features={'a': 'float_normalized', 'c': 'string_categorical'}, output_mode='concat')\nfs.adapt(tf.data.Dataset.from_tensor_slices({'a': [1.0, 3.0], 'c': ['u', 'v']}))",
        "def f(): return fs({'a': tf.constant([2.0]), 'c': tf.constant(['v'])}).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "Normalization mean given and adapted twice",
    [
        "n1 = layers.Normalization(mean=2.0, variance=4.0)\nn2 = layers.Normalization()\nn2.adapt(X)\nn2.adapt(X * 2)\nr = layers.Rescaling(1 / 255)",
        "def f(): return n1(np.array([[4.0]])).numpy().tolist(), n2(np.array(XL, 'float32')).numpy().tolist(), r(np.array([255.0])).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "keras random seed generator & initializers with seed objs",
    [
        "sg = keras.random.SeedGenerator(5)\nsg.next()\nini = keras.initializers.GlorotUniform(seed=sg)\nd = layers.Dense(2, kernel_initializer=ini)",
        "def f(): return keras.random.normal((2,), seed=sg).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "tf global generator and seeds",
    [
        "tf.random.set_seed(3)\nkeras.utils.set_random_seed(11)",
        "def f(): return keras.random.normal((2,)).numpy().tolist()",
    ],
    "f",
    "1",
)
k(
    "settings: op determinism, numpy behaviour, jit",
    [
        "tf.config.experimental.enable_op_determinism()\ntf.experimental.numpy.experimental_enable_numpy_behavior()\nfrom tensorflow.python.framework import config as _cfg",
        "def f():\n    from tensorflow.python.framework import config\n    return config.is_op_determinism_enabled(), hasattr(tf.Tensor, 'reshape')",
    ],
    "f",
    "f()",
)
k(
    "settings: np.seterr, printoptions, pandas options",
    [
        "import pandas as pd\nnp.seterr(all='raise')\npd.options.mode.copy_on_write = True",
        "def f():\n    import numpy\n    return numpy.geterr()",
    ],
    "f",
    "f()",
)
k(
    "settings: image_data_format and epsilon in helper of a class",
    [
        "class Setup:\n    @staticmethod\n    def go():\n        keras.backend.set_image_data_format('channels_first')\n        keras.config.set_epsilon(1e-3)\nSetup.go()",
        "def f(): return keras.config.image_data_format(), keras.config.epsilon()",
    ],
    "f",
    "f()",
)
k(
    "settings: dtype policy object & per-layer",
    [
        "keras.config.set_dtype_policy(keras.DTypePolicy('mixed_float16'))\nd = layers.Dense(2, dtype='float64')\ne = layers.Dense(2)",
        "def f(): return keras.config.dtype_policy().name, d.compute_dtype, e.compute_dtype, e.variable_dtype",
    ],
    "f",
    "f()",
)
k(
    "settings: policy scope ended; with floatx float64",
    [
        "old = keras.config.floatx()\nkeras.config.set_floatx('float64')\nm64 = keras.Sequential([keras.Input((2,)), layers.Dense(1)])\nkeras.config.set_floatx(old)",
        "def f(): return m64.layers[0].kernel.dtype, keras.config.floatx()",
    ],
    "f",
    "f()",
)
k(
    "custom_object_scope and register with names",
    [
        "@keras.saving.register_keras_serializable('pkg', 'fancy')\ndef act(x): return x * 3\nkeras.saving.get_custom_objects()['plain'] = lambda x: x * 4\nNAMES = ['pkg>fancy', 'plain']",
        "def f(): return [keras.saving.get_registered_object(n)(2.0) for n in NAMES]",
    ],
    "f",
    "f()",
)
k(
    "custom objects by f-string name",
    [
        "@keras.saving.register_keras_serializable('pk')\nclass Tri(layers.Layer):\n    def call(self, x): return x * 3.0\npkg = 'pk'",
        "def f(n='Tri'): return keras.saving.get_registered_object(f'{pkg}>{n}')()(np.float32(2.0)).numpy()",
    ],
    "f",
    "float(f())",
)
k(
    "custom objects: tf.keras.utils form and update()",
    [
        "tf.keras.utils.get_custom_objects().update(a1=lambda x: x + 1)\n@tf.keras.utils.register_keras_serializable(package='q')\nclass Z(tf.keras.layers.Layer):\n    def __init__(self, k=1, **kw): super().__init__(**kw); self.k = k\n    def call(self, x): return x * self.k\n    def get_config(self): return {**super().get_config(), 'k': self.k}\nCFG = keras.saving.serialize_keras_object(Z(4))",
        "def f(): return float(keras.saving.deserialize_keras_object(CFG)(np.float32(2.0))), keras.saving.get_custom_objects()['a1'](1)",
    ],
    "f",
    "f()",
)
k(
    "model_from_json with custom layer only by config",
    [
        "@keras.saving.register_keras_serializable(package='w')\nclass Dbl(layers.Layer):\n    def call(self, x): return x * 2.0\nJ = keras.Sequential([keras.Input((2,)), Dbl()]).to_json()",
        "def custom_model(): return keras.models.model_from_json(J)",
    ],
    "custom_model",
    "custom_model()(np.ones((1, 2), 'float32')).numpy().tolist()",
)
k(
    "custom_objects dict argument",
    [
        "class Dbl(layers.Layer):\n    def call(self, x): return x * 2.0\nCO = {'Dbl': Dbl}\nC = keras.Sequential([keras.Input((2,)), Dbl()]).get_config()",
        "def custom_model():\n    with keras.saving.custom_object_scope(CO): return keras.Sequential.from_config(C)",
    ],
    "custom_model",
    "custom_model()(np.ones((1, 2), 'float32')).numpy().tolist()",
)
k(
    "registration via alias decorator function",
    [
        "from keras.saving import register_keras_serializable as rks\nmine = rks(package='mine')\n@mine\ndef sq(x): return x * x",
        "def f(): return keras.saving.get_registered_object('mine>sq')(3.0)",
    ],
    "f",
    "f()",
)
k(
    "registration called as function in a loop",
    [
        "def r1(x): return x + 1\ndef r2(x): return x + 2\nfor fn in (r1, r2): keras.saving.register_keras_serializable(package='lp')(fn)",
        "def f(): return keras.saving.get_registered_object('lp>r1')(1), keras.saving.get_registered_object('lp>r2')(1)",
    ],
    "f",
    "f()",
)
k(
    "lora, then trained; frozen by name in loop",
    [
        M,
        "model.get_layer('a').enable_lora(2)\nfor v in model.layers[1].weights: v.trainable = False\nmodel.get_layer('a').lora_kernel_b.assign(np.ones((2, 3)))",
    ],
    "model",
    [P, "[v.path for v in model.trainable_weights]"],
)
k(
    "variables' trainable, name, layer rename",
    [M, "model.layers[0].kernel.trainable = False\nmodel.layers[1].name = 'renamed'\nmodel.name = 'other'"],
    "model",
    ["len(model.trainable_weights), [l.name for l in model.layers], model.name"],
)
k(
    "RNN with cells, stateful states, bidirectional",
    [
        "model = keras.Sequential([keras.Input((3, 2), batch_size=1), layers.LSTM(4, stateful=True, return_sequences=True), layers.Bidirectional(layers.GRU(3)), layers.Dense(1)])\nmodel(np.ones((1, 3, 2), 'float32'))"
    ],
    "model",
    ["model(np.ones((1, 3, 2), 'float32')).numpy().tolist()", "[s.numpy().tolist() for s in model.layers[0].states]"],
)
k(
    "attention, einsum, layernorm, conv, pooling",
    [
        "i = keras.Input((6, 8))\nh = layers.MultiHeadAttention(2, 4)(i, i)\nh = layers.LayerNormalization()(h + i)\nh = layers.Conv1D(4, 3)(h)\nmodel = keras.Model(i, layers.Dense(1)(layers.GlobalAveragePooling1D()(h)))"
    ],
    "model",
    "model(np.ones((1, 6, 8), 'float32')).numpy().tolist()",
)
k(
    "application-like backbone partially frozen",
    [
        "i = keras.Input((8, 8, 3))\nh = layers.Conv2D(4, 3, name='c1')(i)\nh = layers.BatchNormalization(name='bn')(h)\nh = layers.ReLU()(h)\nback = keras.Model(i, layers.GlobalAveragePooling2D()(h), name='back')\nback.trainable = False\nmodel = keras.Sequential([keras.Input((8, 8, 3)), back, layers.Dense(2)])\nfor l in back.layers[-3:]:\n    if not isinstance(l, layers.BatchNormalization): l.trainable = True\nback.trainable = True\nback.get_layer('bn').trainable = False"
    ],
    "model",
    ["[v.path for v in model.trainable_weights]", "model(np.ones((1, 8, 8, 3), 'float32')).numpy().tolist()"],
)
k(
    "TimeDistributed, wrappers, own wrapper",
    [
        "class W(layers.Wrapper):\n    def call(self, x): return self.layer(x) * G\nG = 2.0\nmodel = keras.Sequential([keras.Input((3, 2)), layers.TimeDistributed(layers.Dense(2)), W(layers.Dense(1))])\nG = 3.0"
    ],
    "model",
    "model(np.ones((1, 3, 2), 'float32')).numpy().tolist()",
)
k(
    "ema, gradient accumulation, loss scaling optimizers",
    [
        "o1 = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)\no2 = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01))\no3 = keras.optimizers.Adam(gradient_accumulation_steps=2, clipnorm=1.0)\no3.clipnorm = 2.0",
        "def f(): return o1.use_ema, type(o2.inner_optimizer).__name__, float(o2.inner_optimizer.learning_rate), o3.clipnorm, o3.gradient_accumulation_steps",
    ],
    "f",
    "f()",
)
k(
    "train_step override and compiled attributes",
    [
        "class Net(keras.Model):\n    def __init__(self): super().__init__(); self.d = layers.Dense(1); self.tr = keras.metrics.Mean(name='tr')\n    def call(self, x): return self.d(x)\n    def train_step(self, data): return {'tr': self.tr(1.0)}\nnet = Net()\nnet.compile('sgd')\nnet.fit(X, X[:, :1], verbose=0)\nnet.custom = 5"
    ],
    "net",
    ["net.custom, float(net.tr.result())"],
)
k(
    "model in closure / partial / default",
    [
        M,
        "from functools import partial\ndef mk(m, s): return m(np.array(XL, 'float32')) * s\ng = partial(mk, model, s=2.0)\ndef h(m=model): return m.layers[0].trainable\nmodel.layers[0].trainable = False",
        "def f(): return g().numpy().tolist(), h(), g.args[0] is model",
    ],
    "f h",
    "f()",
)
k(
    "sklearn pipeline, column transformer, own transformer",
    [
        "import pandas as pd\nfrom sklearn.compose import ColumnTransformer\nfrom sklearn.pipeline import Pipeline\nfrom sklearn.preprocessing import StandardScaler, OneHotEncoder, FunctionTransformer\nfrom sklearn.base import BaseEstimator, TransformerMixin\nclass Clip(BaseEstimator, TransformerMixin):\n    def __init__(self, hi=1.0): self.hi = hi\n    def fit(self, x, y=None): self.m_ = float(np.max(x)); return self\n    def transform(self, x): return np.minimum(x, self.hi) + OFF\nOFF = 1.0\ndf = pd.DataFrame({'a': [1.0, 5.0], 'b': ['u', 'v']})\nct = ColumnTransformer([('n', Pipeline([('s', StandardScaler()), ('c', Clip(0.5)), ('f', FunctionTransformer(lambda x: x * 2))]), ['a']), ('o', OneHotEncoder(sparse_output=False), ['b'])])\nct.fit(df)\nct.named_transformers_['n'].named_steps['c'].hi = 0.25",
        "def f(): return ct.transform(pd.DataFrame({'a': [2.0], 'b': ['v']})).tolist()",
    ],
    "f",
    "f()",
)
k(
    "sklearn random forest, kmeans, gridsearch fitted",
    [
        "from sklearn.ensemble import RandomForestClassifier\nfrom sklearn.cluster import KMeans\nrf = RandomForestClassifier(3, random_state=0).fit(X, [0, 1, 0])\nkm = KMeans(2, n_init=1, random_state=0).fit(X)",
        "def f(): return rf.predict_proba(XL).tolist(), km.cluster_centers_.tolist()",
    ],
    "f",
    "f()",
)
k(
    "pandas categoricals, dtype, interval, period, multiindex",
    [
        "import pandas as pd\nC = pd.Categorical(['a', 'b'], categories=['b', 'a', 'c'], ordered=True)\nCT = pd.CategoricalDtype(['x', 'y'])\nq = pd.qcut([1, 2, 3, 4], 2)\nbins = pd.cut([1, 5], [0, 2, 6], retbins=True)[1]\nmi = pd.MultiIndex.from_product([[1, 2], ['a']])\ns_ = pd.Series([1, 2], index=mi, name='n')\nper = pd.period_range('2024-01', periods=2, freq='M')\ng = pd.DataFrame({'k': ['a', 'b', 'a'], 'v': [1, 2, 3]}).groupby('k').v.mean()\ng['a'] = 9.0\nsp = pd.arrays.SparseArray([0, 0, 1])",
        "def f(): return list(C), CT, list(map(str, q)), bins.tolist(), s_.to_dict(), list(map(str, per)), g.to_dict(), np.asarray(sp).tolist()",
    ],
    "f",
    "f()",
)
k(
    "frame with object column mutated",
    [
        "import pandas as pd\ndf = pd.DataFrame({'t': [[1], [2]]})\ndf.t[0].append(5)\ndf.attrs['x'] = {'a': 1}\ndf2 = df\ndf2['n'] = 1",
        "def f(): return df.t.tolist(), df.attrs, list(df.columns), df is df2",
    ],
    "f",
    "f()",
)
k(
    "numpy generators, RandomState, structured, memmap, matrix",
    [
        "rng = np.random.default_rng(1)\nrng2 = rng\nrng.normal()\nrs = np.random.RandomState(3); rs.rand()\nss = np.random.SeedSequence(5).spawn(1)[0]\nmm = np.memmap('mm.bin', dtype='f4', mode='w+', shape=(2,)); mm[:] = 3\nrec = np.rec.array([(1, 'a')], dtype=[('x', 'i4'), ('y', 'U2')])\nob = np.array([{'a': 1}, None], dtype=object)\nob[0]['a'] = 2\nmx = np.matrix([[1, 2]])",
        "def f(): return rng2.normal(), rng is rng2, rs.rand(), np.asarray(mm).tolist(), rec.x.tolist(), ob[0], mx.tolist()",
    ],
    "f",
    "f()",
)
k(
    "array flags, order, byteorder, readonly, broadcast",
    [
        "F = np.asfortranarray(np.arange(6.).reshape(2, 3))\nB = np.arange(3, dtype='>i4')\nR = np.ones(100); R.flags.writeable = False\nE = np.empty((0, 3), 'float32')\nN = np.array(5.0)",
        "def f(): return F.tolist(), str(B.dtype), E.shape, N.shape",
    ],
    "f",
    "f()",
)
k(
    "scipy sparse, stats frozen, interpolate",
    [
        "import scipy.sparse as sp, scipy.stats as st, scipy.interpolate as ip\nM_ = sp.coo_matrix(np.eye(2)).tolil(); M_[0, 1] = 5\nn = st.norm(1, 2)\nit = ip.interp1d([0, 1], [0, 10])",
        "def f(): return M_.toarray().tolist(), float(n.mean()), float(it(0.5))",
    ],
    "f",
    "f()",
)
k(
    "tokenizer class in a written module with lookup",
    [
        "%%writefile tk_mod.py\nclass Tok:\n    def __init__(self): self.v = {}\n    def fit(self, ts):\n        for t in ts: self.v.setdefault(t, len(self.v))\n        return self\n    def __call__(self, t): return self.v.get(t, -1)\n",
        "from tk_mod import Tok\ntok = Tok()\nfor w in ['a b', 'c']: tok.fit(w.split())",
        "def f(): return tok('c'), tok('zz')",
    ],
    "f",
    "f()",
)
k(
    "globals of a helper module set by function from cell",
    [
        "%%writefile gm_mod.py\n_model = None\ndef set_model(m):\n    global _model\n    _model = m\ndef call(x): return _model(x)\n",
        "import gm_mod\n" + M + "\ngm_mod.set_model(model)\nmodel.layers[0].trainable = False",
        "def f(): return gm_mod.call(np.array(XL, 'float32')).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "two heads share encoder, one unfrozen via other",
    [
        "i = keras.Input((4,))\nenc = keras.Sequential([layers.Dense(3)], name='enc')\nh = enc(i)\nm1, m2 = keras.Model(i, layers.Dense(1)(h)), keras.Model(i, layers.Dense(2)(h))\nm2.get_layer('enc').trainable = False",
        "def custom_model(): return m1",
    ],
    "custom_model",
    "len(custom_model().trainable_weights)",
)
k(
    "model list in dict: ensembles",
    [
        "ens = {k: keras.Sequential([keras.Input((4,)), layers.Dense(1)]) for k in 'ab'}\nens['a'].layers[0].kernel.assign(np.ones((4, 1)))\nfor k_, m_ in ens.items(): m_.trainable = k_ == 'a'",
        "def f(): return {k: (m(np.array(XL, 'float32')).numpy().tolist(), len(m.trainable_weights)) for k, m in ens.items()}",
    ],
    "f",
    "f()",
)
k(
    "strategy object kept",
    [
        "st = tf.distribute.get_strategy()\nwith st.scope():\n    model = keras.Sequential([keras.Input((4,)), layers.Dense(1)])"
    ],
    "model",
    P,
)
k(
    "dataset element_spec, TensorSpec, iterator in obj",
    [
        "ds = tf.data.Dataset.from_tensor_slices(X).batch(2)\nspec = ds.element_spec\nfd = {'x': tf.io.FixedLenFeature([4], tf.float32), 'v': tf.io.VarLenFeature(tf.string)}",
        "def f(): return spec, sorted(fd), fd['x'].shape",
    ],
    "f",
    "f()",
)
k(
    "dataset used in function",
    ["ds = tf.data.Dataset.from_tensor_slices(X)", "def f(): return len(list(ds))"],
    "f",
    "f()",
    refuse=["'ds'", "reads data"],
)
k(
    "tf.function with captured variable and python side state",
    [
        "v = tf.Variable(2.0)\n@tf.function\ndef g(x): return x * v\ng(tf.constant(1.0))\nv.assign(7.0)\nc = g.get_concrete_function(tf.TensorSpec([], tf.float32))",
        "def f(): return float(g(2.0))",
    ],
    "f",
    "f()",
)
k(
    "concrete function",
    [
        "@tf.function\ndef g(x): return x * 2\nc = g.get_concrete_function(tf.TensorSpec([], tf.float32))",
        "def f(): return float(c(tf.constant(2.0)))",
    ],
    "f",
    "f()",
    refuse=["'c'"],
)
k(
    "custom_gradient and tf.numpy_function",
    [
        "@tf.custom_gradient\ndef clip(x):\n    def grad(dy): return dy * SC\n    return x, grad\nSC = 3.0",
        "def f():\n    x = tf.Variable(2.0)\n    with tf.GradientTape() as t: y = clip(x) * 1.0\n    return float(t.gradient(y, x))",
    ],
    "f",
    "f()",
)
k(
    "keras Function / Variable / ops objects",
    [
        "kv = keras.Variable(np.ones(2), trainable=False, name='kv')\nkv.assign([2, 3])\nfn = keras.Function([a := keras.KerasTensor((None, 4))], [keras.ops.sum(a)]) if hasattr(keras, 'Function') else None",
        "def f(): return kv.numpy().tolist(), kv.trainable, kv.name",
    ],
    "f",
    "f()",
)
k(
    "big embedding changed one row",
    [
        "emb = layers.Embedding(60000, 16)\nemb.build(None)\nemb.embeddings[5].assign(np.ones(16)) if False else emb._embeddings.value.scatter_nd_update([[5]], [np.ones(16, 'float32')])",
        "def f(): return emb(np.array([5])).numpy().tolist()[0][:2]",
    ],
    "f",
    "f()",
)
k(
    "big embedding untouched keeps identical initial values",
    [
        "emb = layers.Embedding(60000, 16, embeddings_initializer=keras.initializers.RandomUniform(seed=5))\nemb.build(None)",
        "def f(): return emb(np.array([5, 59999])).numpy().tolist()",
    ],
    "f",
    "f()",
)
k(
    "history, logs and results of fit used",
    [
        M,
        "model.compile('sgd', 'mse')\nh = model.fit(X, X[:, :1], epochs=2, verbose=0)\nBEST = min(h.history['loss'])",
        "def f(): return BEST, len(h.history['loss'])",
    ],
    "f",
    "f()",
)
k(
    "metrics list, compile-time metric with state and reset",
    [
        M,
        "auc = keras.metrics.AUC(num_thresholds=5)\nmodel.compile('sgd', 'mse', metrics=[auc, 'mae'])\nauc.update_state([0, 1], [0.1, 0.9])",
        "def f(): return float(auc.result())",
    ],
    "f model",
    "f()",
)
k("quantized int8 & save config dtype map", [M, "model.quantize('int8')"], "model", P)
k(
    "layer monkeypatched call and get_config",
    [
        M,
        "import types\nl = model.layers[0]\ndef call2(self, x): return layers.Dense.call(self, x) * 2.0\nl.call = types.MethodType(call2, l)",
    ],
    "model",
    P,
)
k(
    "library class monkeypatched",
    [
        "_old = layers.Dense.call\ndef patched(self, x, training=None): return _old(self, x) + 100.0\nlayers.Dense.call = patched",
        "def custom_model(): return keras.Sequential([keras.Input((4,)), layers.Dense(1, kernel_initializer='ones')])",
    ],
    "custom_model",
    "custom_model()(np.array(XL, 'float32')).numpy().tolist()",
    refuse=["'_old'", "cell [2]"],
)

OWN = "class Own(keras.Model):\n    def train_step(self, data): return super().train_step(data)\n    def twice(self): return 2"
k(
    "a class of one's own over a functional graph",
    [K, OWN, "class Deeper(Own): pass\ni = keras.Input((4,))\nmodel = Deeper(i, layers.Dense(1)(i))"],
    "model",
    [P, "[type(model).__name__, model.twice(), len(model.layers), [c.__name__ for c in type(model).__mro__][:4]]"],
)
k(
    "a function that makes a functional model of one's own class, which was called before",
    [
        K,
        OWN,
        "def build():\n    i = keras.Input((4,))\n    return Own(i, layers.Dense(1, kernel_initializer='ones')(i))\nbuild()",
    ],
    "build",
    "build()(np.array(XL, 'float32')).numpy().tolist()",
)

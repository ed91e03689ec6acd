"""Put back what Keras 3 dropped: the one place that changes modules of TensorFlow and Keras.

These are changed, in this process only: TensorFlow's list of dispatchers and the functions of `operations.WRAPPED`,
`tf.keras.backend`, `keras.layers.DenseFeatures`, `keras.optimizers.legacy`, the constructors of optimizers, and
`sys.modules` for names below `tensorflow.python.keras`.
"""

from __future__ import annotations

import threading

import keras

from elasticdl_nb.runtime.model.older import arguments, oldmodules, operations
from elasticdl_nb.runtime.model.older.densefeatures import DenseFeatures

_lock = threading.Lock()
_done: list[bool] = []


def install() -> None:
    """Make the names available; later calls do nothing. Call it before a zoo's modules are imported."""
    with _lock:
        if _done:
            return
        operations.install()
        for layers in (keras.layers, *operations.keras_modules("layers")):
            layers.DenseFeatures = DenseFeatures
        arguments.install()
        oldmodules.install()
        _done.append(True)

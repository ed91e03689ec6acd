"""`elasticdl_nb.Embedding`: rows for any ids, without declaring how many there are.

For models: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.initial import initial_rows
from elasticdl_nb.runtime.model.embeddings.served import ServedLayer, ServedLayers, active, refuse_options
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.initializers import row_initializer
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.tableoptions import BFLOAT16, FLOAT32, TableOptions

COMBINERS = (None, "sum", "mean", "sqrtn")
BUCKETS = 1 << 16


@keras.saving.register_keras_serializable(package="elasticdl_nb")
class Embedding(keras.layers.Layer):  # type: ignore[misc]
    """Turns int64 ids of any value, including negative ones, into rows of `output_dim` values.

    Input: integers [n, …], dense, ragged [n, None] or sparse [n, m]. Without a `combiner` the output is
    float32 [n, …, output_dim], ragged for ragged input; sparse input requires a combiner. With "sum", "mean" or "sqrtn"
    (the sum divided by the square root of their number), the rows of the ids along the last dimension are combined into
    one; without ids, it is zeros.

    In a training job, rows are in tables, in the worker or on parameter servers, and are created when an id is first
    seen. The trained model has the ids and their rows as weights, and all other ids have zeros; or it has them in files
    if they are large, and all other ids have their initial values. In Keras without a job, ids share `buckets` rows by
    their hash.

    `min_count`, `ttl` and `max_rows` set bounds: an id gets a row once it has been seen `min_count` times in training,
    a row leaves after `ttl` steps without use (or a time such as "7d"), and at `max_rows` rows the least recently used
    leave. An id without a row has its initial value, in the trained model too. Use `max_rows` together with
    `min_count=2` at least: most ids of a long tail come once, and would take the rows of those that come again.

    With `slot_half_life`, what the optimizer keeps for a row halves with every so many steps in which it was not used,
    so that an id that comes back after a long time adapts quickly again.

    With `row_dtype="bfloat16"`, the table holds the values of rows as bfloat16, in half the memory. Outputs are float32
    all the same.
    """

    def __init__(
        self,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        combiner: str | None = None,
        buckets: int = BUCKETS,
        min_count: int | None = None,
        ttl: int | str | None = None,
        max_rows: int | None = None,
        row_dtype: str | None = None,
        slot_half_life: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if combiner not in COMBINERS:
            raise ModelError(f"Embedding {self.name}: combiner={combiner!r}; use 'sum', 'mean', 'sqrtn' or None")
        self.output_dim = output_dim
        self.embeddings_initializer = keras.initializers.get(embeddings_initializer)
        self.combiner = combiner
        self.buckets = buckets
        self._said = {
            "min_count": min_count, "ttl": ttl, "max_rows": max_rows, "slot_half_life": slot_half_life,
            "row_dtype": row_dtype,
        }  # fmt: skip
        try:
            self.table_options = TableOptions.of(**self._said) or TableOptions()
        except ValueError as error:
            raise ModelError(f"Embedding {self.name}: {error}") from None
        self.autocast = False
        self._served: ServedRows | None = None
        self._ids: Any = None
        self._rows: Any = None
        self._initial: Any = None

    def build(self, input_shape: Any = None) -> None:
        """See `keras.layers.Layer`."""
        layers = active()
        if layers is not None and layers.files is None and not self.trainable:
            refuse_options(self.name, layers.options_of(self), "it is not trained")
        if layers is not None and (self.trainable or layers.files is not None) and layers.wants(self):
            self._served = ServedRows(layers, self)
        else:
            self._hash()

    def call(self, inputs: Any) -> Any:
        """See the class."""
        if isinstance(inputs, tf.RaggedTensor):
            rows = self._look_up(inputs.flat_values)
            if self.combiner is None:
                return inputs.with_flat_values(rows)
            return self._combined(rows, inputs.value_rowids(), inputs.nrows())
        if isinstance(inputs, tf.SparseTensor):
            if self.combiner is None:
                raise ModelError(f"Embedding {self.name}: sparse ids need a combiner: 'sum', 'mean' or 'sqrtn'")
            return self._combined(self._look_up(inputs.values), inputs.indices[:, 0], inputs.dense_shape[0])
        rows = self._look_up(tf.convert_to_tensor(inputs))
        if self.combiner is None:
            return rows
        number = tf.cast(tf.shape(rows)[-2], tf.float32)
        return tf.math.divide_no_nan(tf.reduce_sum(rows, axis=-2), self._divisor(number))

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        """See `keras.layers.Layer`."""
        shape = inputs.shape if self.combiner is None else inputs.shape[:-1]
        ragged = self.combiner is None and getattr(inputs, "ragged", False)
        return keras.KerasTensor((*shape, self.output_dim), dtype="float32", ragged=ragged)

    def get_config(self) -> dict[str, Any]:
        """See `keras.layers.Layer`."""
        return {
            **super().get_config(),
            "output_dim": self.output_dim,
            "embeddings_initializer": keras.initializers.serialize(self.embeddings_initializer),
            "combiner": self.combiner,
            "buckets": self.buckets,
            **{name: value for name, value in self._said.items() if value is not None},
        }

    # ------------------------------------------------------------ rows

    def _look_up(self, ids: tf.Tensor) -> tf.Tensor:
        ids = tf.cast(ids, tf.int64)
        if self._served is not None:
            return self._served.rows(ids)
        if self._ids is None:
            return tf.gather(self._rows, tf.strings.to_hash_bucket_fast(tf.strings.as_string(ids), self.buckets))
        flat = tf.reshape(ids, [-1])
        known = tf.concat([self._ids, [tf.int64.max]], 0)
        places = tf.searchsorted(known[:-1], flat)
        found = tf.equal(tf.gather(known, places), flat) & (places < tf.size(known) - 1)
        rows = tf.gather(tf.concat([self._rows, tf.zeros([1, self.output_dim])], 0), places)
        rows = tf.where(found[:, tf.newaxis], rows, 0.0 if self._initial is None else self._first(flat))
        return tf.reshape(rows, tf.concat([tf.shape(ids), [self.output_dim]], 0))

    def _first(self, ids: tf.Tensor) -> tf.Tensor:
        config = keras.initializers.serialize(self.embeddings_initializer)
        held = BFLOAT16 if len(self._initial.shape) else FLOAT32
        initializer = row_initializer(config, self.name, self.output_dim, row_dtype=held)
        key = tf.reshape(tf.convert_to_tensor(self._initial), [])
        return initial_rows(initializer, key, ids, self.output_dim)

    def _combined(self, rows: tf.Tensor, owners: tf.Tensor, count: Any) -> tf.Tensor:
        total = tf.math.unsorted_segment_sum(rows, owners, count)
        numbers = tf.math.unsorted_segment_sum(tf.ones_like(owners, tf.float32), owners, count)
        return tf.math.divide_no_nan(total, self._divisor(numbers)[:, tf.newaxis])

    def _divisor(self, numbers: tf.Tensor) -> tf.Tensor:
        if self.combiner == "sum":
            return tf.ones_like(numbers)
        return numbers if self.combiner == "mean" else tf.sqrt(numbers)

    # ------------------------------------------------------------ weights

    def _hash(self) -> None:
        self._rows = self.add_weight(
            shape=(self.buckets, self.output_dim), initializer=self.embeddings_initializer, name="rows"
        )

    def hold(self, ids: Ids, rows: Array, initial: Ids | None = None) -> None:
        """Use these rows as weights from now on; ids int64 [n], sorted, without duplicates.

        Other ids have zeros, or their initial values by the key `initial`, an int64: see `initializers`. Its shape is
        [], or [1] if these are rounded to bfloat16.
        """
        self._served = None
        self._tracker.unlock()
        if self._rows is not None:
            self._untrack_variable(self._rows)
        if self._ids is not None:
            self._untrack_variable(self._ids)
        if self._initial is not None:
            self._untrack_variable(self._initial)
            self._initial = None
        with tf.init_scope(), self._open_name_scope():
            self._ids = self.add_weight(
                shape=ids.shape, dtype="int64", initializer="zeros", trainable=False, name="ids"
            )  # fmt: skip
            self._rows = self.add_weight(shape=rows.shape, initializer="zeros", name="rows")
            if initial is not None:
                self._initial = self.add_weight(
                    shape=initial.shape, dtype="int64", initializer="zeros", trainable=False, name="initial"
                )  # fmt: skip
                self._initial.assign(initial)
        self._tracker.lock()
        self._ids.assign(ids)
        self._rows.assign(rows)

    def make_room(self, saved: Mapping[str, tuple[int, ...]]) -> None:
        """Prepare the weights for those of a trained model, whose variables have these shapes, keyed by path."""
        shape = saved.get(f"{self.path}/ids")
        if shape is not None:
            of_key = saved.get(f"{self.path}/initial")
            initial = None if of_key is None else np.zeros(of_key, np.int64)
            self.hold(np.zeros(shape, np.int64), np.zeros((shape[0], self.output_dim), np.float32), initial)

    def load_own_variables(self, store: Any) -> None:
        """See `keras.layers.Layer`."""
        if len(store.keys()) >= 2:
            saved = [np.asarray(store[key]) for key in sorted(store.keys())]
            ids, *initial = [one for one in saved if one.ndim < 2]
            self.hold(ids, next(one for one in saved if one.ndim == 2), *initial)
        else:
            super().load_own_variables(store)


class ServedRows(ServedLayer):
    """An `Embedding` whose rows are in a table."""

    def __init__(self, layers: ServedLayers, layer: Embedding) -> None:
        initializer = keras.initializers.serialize(layer.embeddings_initializer)
        name, options = layers.name_for(layer), layers.options_of(layer)
        spec = TableSpec(name, layer.output_dim, initializer, None, layers.seed, options.bounds, options.held)
        super().__init__(layers, layer, spec)

    def ordinary_bytes(self) -> int:
        """See `ServedLayer.ordinary_bytes`."""
        rows = 0 if self.layers.source is None else self.layers.source.count(self.name)
        return rows * (self.dim * 4 + 8)

    def unserving(self) -> Callable[[], None]:
        """Give the layer the rows of the table; without training, it uses hashed rows."""
        if self.layers.source is None:
            return self._hash
        blocks = list(self.exported())
        ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in blocks)])
        rows = np.concatenate([np.empty((0, self.dim), np.float32), *(rows for _, rows in blocks)])
        order = np.argsort(ids)
        initial = None
        if self.spec.bounds is not None:
            key = np.array(self.spec.initial().key, np.uint64).view(np.int64)
            initial = key if self.spec.row_dtype == FLOAT32 else key.reshape(1)

        def put_back() -> None:
            self.layers.layers.remove(self)
            self.layer.hold(ids[order], rows[order], initial)

        return put_back

    def _hash(self) -> None:
        self.layers.layers.remove(self)
        self.layer._served = None
        self.layer._tracker.unlock()
        with tf.init_scope(), self.layer._open_name_scope():
            self.layer._hash()
        self.layer._tracker.lock()

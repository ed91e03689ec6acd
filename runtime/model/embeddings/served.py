"""Large Keras Embedding layers whose rows live outside the model: in tables of this process, or on parameter servers.

Within `serving()` the `build` of `keras.layers.Embedding` is replaced: a large layer allocates nothing, and its `call`
takes rows from wherever they are. Models need no change. Training goes through `served_step`, which knows a batch's ids
before its step. Everywhere else (evaluation, a user's own calls) a layer fetches its rows while the graph runs.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Mapping
from types import MethodType
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from elasticdl_nb.runtime.errors import DataError, ModelError, did_you_mean
from elasticdl_nb.runtime.model.embeddings.asking import SETS, asking
from elasticdl_nb.runtime.parameters.arrays import Array, Ids
from elasticdl_nb.runtime.parameters.initializers import row_initializer
from elasticdl_nb.runtime.parameters.table import TableSpec
from elasticdl_nb.runtime.spec.tableoptions import NAMES, TableOptions

THRESHOLD = 2 << 20
"""Size in bytes from which a layer's matrix is served; the variable ELASTICDL_SERVE_FROM_BYTES overrides it."""

GIVEN = (
    "the model came with its rows, which were not their initial ones any more; from_scratch begins without them, and "
    "checkpoint_dir_for_init with those of a trained model"
)
"""Why an embedding of a model object of a notebook is an ordinary layer."""

_BLOCK = 1 << 16
_patch_lock = threading.Lock()
_active: list[ServedLayers] = []


class RowSource(Protocol):
    """Where rows are: a parameter store in this process, or the servers."""

    def lookup(self, table: str, ids: Ids, *, create: bool = True) -> Array:
        """Return the rows of `ids`, int64 [n] without duplicates, as float32 [n, dim]."""

    def export(self, table: str) -> Iterator[tuple[Ids, Array]]:
        """Return all rows of a table, block by block."""

    def count(self, table: str) -> int:
        """Return how many rows a table has."""


class Written(RowSource, Protocol):
    """Rows in a trained model's files, from which a model is opened; see `parameters.mapped`."""

    def __contains__(self, name: object) -> bool:
        """Whether a table of this name is there."""

    def __iter__(self) -> Iterator[str]:
        """Yield the tables' names."""


class CallTrace(Protocol):
    """What takes the place of tables while a graph is traced; see `served_step`."""

    def rows(self, layer: ServedLayer, ids: tf.Tensor) -> tf.Tensor:
        """Return the rows of `ids`, int64 [n], as float32 [n, dim], for the next call of a layer."""


class ServedLayers:
    """The served layers of a model, in the order in which they were built, and the source of their rows.

    With `files`, these are the layers whose tables are there; otherwise, those whose matrix is large enough, or that
    ask for a table. `options` are the job's `embedding_options`.
    """

    def __init__(
        self,
        threshold: int | None = None,
        seed: int = 0,
        files: Written | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.files = files
        self.threshold = threshold or int(os.environ.get("ELASTICDL_SERVE_FROM_BYTES", THRESHOLD))
        self.seed = seed
        self._options = options or {}
        self._named: dict[str, None] = {}
        self.layers: list[ServedLayer] = []
        self.source: RowSource | None = files
        self.notes: list[str] = []
        self.trace: CallTrace | None = None

    def specs(self) -> list[TableSpec]:
        """Return the specifications of all layers' tables."""
        return [layer.spec for layer in self.layers]

    def add(self, layer: ServedLayer) -> None:
        """Add a layer, whose table is named after the layer's path."""
        self.layers.append(layer)

    def options_of(self, layer: Any) -> TableOptions:
        """Return what the job says of the table of an embedding that is being built, or what the layer itself says."""
        names = (layer.name, str(layer.path or layer.name))
        self._named |= dict.fromkeys(names)
        said = next((self._options[name] for name in names if name in self._options), None)
        return self._options_by(said, layer)

    @staticmethod
    def _options_by(said: Mapping[str, Any] | None, layer: Any) -> TableOptions:
        return own_options(layer) if said is None else TableOptions.of(**said) or TableOptions()

    def check_options(self, model: keras.Model) -> None:
        """Raise ModelError unless tables do all that the job, or the layers of the built model, ask for."""
        served = {id(one.layer) for one in self.layers}
        found = [one for one in model._flatten_layers() if one.built and hasattr(one, "embeddings_initializer")]
        for layer in found:
            said = self._options.get(layer.name, self._options.get(str(layer.path)))
            if id(layer) not in served:
                refuse_options(layer.path, self._options_by(said, layer), GIVEN)
        names = self._named | {name: None for layer in found for name in (layer.name, str(layer.path))}
        for name in self._options:
            if name not in names:
                known = ", ".join(self._named) or "none"
                raise ModelError(
                    f"embedding_options: the model has no embedding {name}.{did_you_mean(name, self._named)} "
                    f"Its embeddings: {known}"
                )

    def refuse_options(self, reason: str) -> None:
        """Raise ModelError if an embedding that asks for a table cannot be in one for this reason."""
        for layer in self.layers:
            layer.refuse_options(reason)

    def of_keras(self) -> list[ServedEmbedding]:
        """The layers that Keras knows with a matrix of a certain size."""
        return [layer for layer in self.layers if isinstance(layer, ServedEmbedding)]

    def note_ordinary(self, name: str, reason: str) -> None:
        """Note for users why a large layer is not served."""
        self.notes.append(f"embedding {name} is trained as an ordinary layer: {reason}")

    def wants(self, layer: keras.layers.Layer, nbytes: int | None = None) -> bool:
        """Whether a layer that is being built is to be served; `nbytes` is the size of its matrix, if it has one."""
        if self.files is not None:
            return self.name_for(layer) in self.files
        return nbytes is None or nbytes >= self.threshold

    def check_all_found(self) -> None:
        """Raise ModelError if the files have a table of which there is no layer."""
        found = {layer.name for layer in self.layers}
        if missing := [name for name in self.files or () if name not in found]:
            raise ModelError(
                f"the trained model has a table for the embedding {missing[0]}, but its model has no such layer: "
                "it must be the model that was trained"
            )

    def too_large(self, limit: int) -> set[str]:
        """Return the names of layers that would have at least `limit` bytes of weights as ordinary layers.

        Layers whose paths are equal stay together, because their names tell them apart by their order.
        """
        large = {layer.name.partition("#")[0] for layer in self.layers if layer.ordinary_bytes() >= limit}
        return {layer.name for layer in self.layers if layer.name.partition("#")[0] in large}

    def name_for(self, layer: keras.layers.Layer) -> str:
        """Return a unique name for the table of a layer that is being built."""
        taken = {served.name for served in self.layers}
        base = str(layer.path or layer.name)
        return next(name for n in range(1, len(taken) + 2) if (name := base if n == 1 else f"{base}#{n}") not in taken)

    @contextlib.contextmanager
    def tracing(self, trace: CallTrace) -> Iterator[None]:
        """Make all layers take their rows from `trace` within the block."""
        self.trace = trace
        try:
            yield
        finally:
            self.trace = None

    def unserve(self, keep: Collection[str] = ()) -> None:
        """Turn all layers but those named back into ordinary ones with their trained rows.

        If the rows of one are not available, all stay as they are.
        """
        for put_back in [layer.unserving() for layer in self.layers if layer.name not in keep]:
            put_back()


class ServedLayer:
    """A layer whose rows are in a table: what all kinds of such layers share."""

    def __init__(self, layers: ServedLayers, layer: keras.layers.Layer, spec: TableSpec) -> None:
        self.layers, self.layer, self.spec = layers, layer, spec
        self.name = spec.name
        layers.add(self)

    def refuse_options(self, reason: str) -> None:
        """See the function of this name."""
        refuse_options(self.name, TableOptions(self.spec.bounds, self.spec.row_dtype), reason)

    @property
    def dim(self) -> int:
        """The number of values in a row."""
        return self.spec.dim

    def rows(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the rows of `ids`, an integer tensor of any shape, as float32 [*shape, dim]."""
        flat = tf.reshape(tf.cast(ids, tf.int64), [-1])
        trace = self.layers.trace
        rows = self._fetched(flat) if trace is None else trace.rows(self, flat)
        shaped = tf.reshape(rows, tf.concat([tf.shape(ids), [self.dim]], 0))
        return tf.ensure_shape(shaped, [*ids.shape, self.dim])

    def _fetched(self, ids: tf.Tensor) -> tf.Tensor:
        unique, places = tf.unique(ids)
        rows = tf.numpy_function(_looking_up(self), [unique], tf.float32, stateful=True)
        rows.set_shape([None, self.dim])
        return tf.gather(rows, places)

    def _lookup(self, ids: Ids) -> Array:
        self.check(ids)
        if self.layers.source is None:  # training has not begun: all rows have their initial values
            return self._initial(ids)
        return np.ascontiguousarray(self.layers.source.lookup(self.name, ids, create=False), np.float32)

    def check(self, ids: Ids) -> None:
        """Raise DataError for an id that the layer does not have."""
        size = self.spec.input_dim
        if size is None or not ids.size:
            return
        low, high = ids.min(), ids.max()
        if low < 0 or high >= size:
            raise DataError(
                f"embedding {self.name}: id {low if low < 0 else high} is not one of its {size} (0 to {size - 1}); "
                "give the layer a larger input_dim, or map the ids into its range"
            )

    def _initial(self, ids: Ids) -> Array:
        out = np.empty((ids.size, self.dim), np.float32)
        self.spec.initial()(ids, out)
        return out

    def exported(self) -> Iterator[tuple[Ids, Array]]:
        """Return all rows that the table holds, block by block."""
        return iter(()) if self.layers.source is None else self.layers.source.export(self.name)

    def ordinary_bytes(self) -> int:
        """The size of the weights that it would have as an ordinary layer."""
        raise NotImplementedError

    def unserve(self) -> None:
        """Give the layer its rows back and stop serving it."""
        self.unserving()()

    def unserving(self) -> Callable[[], None]:
        """Fetch the rows; return a function that does the rest of `unserve`."""
        raise NotImplementedError


def _looking_up(layer: ServedLayer) -> Callable[[Ids], Array]:
    """Return what graphs call. TensorFlow keeps it as long as the process lives, so it must not keep the layer."""
    there, name = weakref.ref(layer), layer.name

    def look_up(ids: Ids) -> Array:
        found = there()
        if found is None:
            raise DataError(f"embedding {name}: its model is gone")
        return found._lookup(ids)

    return look_up


class ServedEmbedding(ServedLayer):
    """An ordinary Keras Embedding, served."""

    def __init__(self, layers: ServedLayers, layer: Any, build: Any, options: TableOptions) -> None:
        spec = TableSpec(
            name=layers.name_for(layer),
            dim=layer.output_dim,
            initializer=_initializer_config(layer),
            input_dim=layer.input_dim,
            seed=layers.seed,
            bounds=options.bounds,
            row_dtype=options.held,
        )
        super().__init__(layers, layer, spec)
        self._build = build
        for name in _REPLACED:
            setattr(layer, name, MethodType(getattr(self, f"_{name}"), self.layer))

    def ordinary_bytes(self) -> int:
        """See `ServedLayer.ordinary_bytes`."""
        return int(self.layer.input_dim) * self.dim * 4

    def matrix(self) -> Array:
        """Return all rows, float32 [input_dim, dim]; those not requested yet have their initial values."""
        size = self.layer.input_dim
        values = np.empty((size, self.dim), np.float32)
        for start in range(0, size, _BLOCK):
            ids = np.arange(start, min(start + _BLOCK, size))
            values[start : start + ids.size] = self._initial(ids)
        for ids, rows in self.exported():
            values[ids] = rows
        return values

    def unserving(self) -> Callable[[], None]:
        """Turn it back into an ordinary layer."""
        values = self.matrix()

        def put_back() -> None:
            self._give_back()
            self.layer._embeddings.assign(values)

        return put_back

    def _give_back(self) -> None:
        """Let the layer create its variable after all, with the path that an ordinary layer's variable has."""
        for name in _REPLACED:
            delattr(self.layer, name)
        self.layers.layers.remove(self)
        self.layer._tracker.unlock()
        self.layer.built = False
        with tf.init_scope(), self.layer._open_name_scope():
            self._build(self.layer)
        self.layer._tracker.lock()

    # ------------------------------------------------------------ replacements of the layer's own methods

    def _call(self, layer: Any, inputs: Any) -> Any:
        if inputs.dtype not in ("int32", "int64"):
            inputs = keras.ops.cast(inputs, "int32")
        return keras.ops.cast(self.rows(tf.convert_to_tensor(inputs)), layer.compute_dtype)

    def ordinary(self, reason: str) -> Any:
        """Make it an ordinary layer for this reason, before training; return its variable, with its initial values."""
        self._must_be_idle()
        self.refuse_options(reason)
        self.layers.note_ordinary(self.name, reason)
        self._give_back()
        return self.layer._embeddings

    def _get_weights(self, layer: Any) -> list[Array]:
        return [self.matrix()]

    def _set_weights(self, layer: Any, weights: Any) -> None:
        self.ordinary(SETS)
        layer.set_weights(weights)

    def _load_own_variables(self, layer: Any, store: Mapping[str, Any]) -> None:
        self.ordinary(SETS)
        layer.load_own_variables(store)

    def _save_own_variables(self, layer: Any, store: Any) -> None:
        store["0"] = self.matrix()

    def _must_be_idle(self) -> None:
        if self.layers.source is not None:
            raise ModelError(
                f"embedding {self.name}: its weights cannot be set during training, because its rows are in tables; "
                "set them where the model is created"
            )


def own_options(layer: Any) -> TableOptions:
    """Return what a layer itself says of its table; a user's layer may have something else of that name."""
    said = getattr(layer, "table_options", None)
    return said if isinstance(said, TableOptions) else TableOptions()


def refuse_options(name: str, options: TableOptions, reason: str) -> None:
    """Raise ModelError if an embedding that cannot be in a table for this reason asks for what only tables do."""
    if options.need_table:
        asked = f"{', '.join(NAMES[:-1])} and {NAMES[-1]}"
        raise ModelError(f"embedding {name}: {asked} need a table, which it cannot have: {reason}")


def active() -> ServedLayers | None:
    """The layers of the `serving` block in which this is called, or None outside of one."""
    return _active[-1] if _active else None


def is_wanted(layer: Any) -> bool:
    """Whether the rows of an embedding of Keras or ours would be in a table if it were built now."""
    layers = active()
    if layers is None:
        return False
    size = getattr(layer, "input_dim", None)
    asks = layers.files is None and layers.options_of(layer).need_table
    return asks or layers.wants(layer, None if size is None else size * layer.output_dim * 4)


_REPLACED = ("call", "get_weights", "set_weights", "load_own_variables", "save_own_variables")


def _initializer_config(layer: Any) -> Any:
    return keras.initializers.serialize(layer.embeddings_initializer)


def why_ordinary(layer: Any) -> str:
    """Return why an Embedding layer cannot do without its whole matrix in one place, or an empty string."""
    if type(layer) is not keras.layers.Embedding:
        return f"it is a {type(layer).__name__}"
    for hinders, reason in (
        (not layer.trainable, "it is not trained"),
        (layer.embeddings_regularizer is not None, "it is regularized"),
        (layer.embeddings_constraint is not None, "it has a constraint"),
        (bool(layer.lora_rank), "it has a LoRA rank"),
        (bool(layer.quantization_mode), "it is quantized"),
        (layer.variable_dtype != "float32", f"its rows are {layer.variable_dtype}"),
        (not _rows_can_be_initialized(layer), f"{_class_name(layer.embeddings_initializer)} makes its whole matrix"),
    ):
        if hinders:
            return reason
    return ""


def _class_name(initializer: Any) -> str:
    return getattr(initializer, "__name__", type(initializer).__name__)


def _rows_can_be_initialized(layer: Any) -> bool:
    try:
        row_initializer(_initializer_config(layer), "", layer.output_dim, input_dim=layer.input_dim)
    except ModelError:
        return False
    return True


@contextlib.contextmanager
def serving(layers: ServedLayers) -> Iterator[None]:
    """Add large Embedding layers that are created within the block to `layers`, whenever they are built.

    A layer that cannot be served (regularized, constrained, quantized, frozen, of a derived class, or with an
    initializer that makes whole matrices) stays as it is, and so does one whose matrix the model's code uses itself;
    `layers.notes` says why.
    """
    with _patch_lock:
        original = keras.layers.Embedding.build

        def build(layer: Any, input_shape: Any = None) -> None:
            if layer.built:
                return
            options = layers.options_of(layer) if layers.files is None else TableOptions()
            if not options.need_table and not layers.wants(layer, layer.input_dim * layer.output_dim * 4):
                original(layer, input_shape)
            elif layers.files is None and (reason := why_ordinary(layer)):
                original(layer, input_shape)
                refuse_options(layer.path, options, reason)
                layers.note_ordinary(layer.path, reason)
            else:
                ServedEmbedding(layers, layer, original, options)
                layer.built = True

        # Every Keras layer keeps the `build` that its class had when the layer was created.
        keras.layers.Embedding.build = build
        _active.append(layers)
        try:
            with asking(layers):
                yield
        finally:
            _active.pop()
            keras.layers.Embedding.build = original

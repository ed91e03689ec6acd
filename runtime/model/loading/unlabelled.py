"""Using input functions written for labelled records on records without labels.

An input function (record) that does not take the mode reads the label even when predicting, where there is none. What
it makes of the label does not matter then, unless it flows into the features. So the function is traced once: if the
missing value certainly does not reach the features, a zero is read in its place; if it does, the error says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError

_PARSERS = ("parse_single_example", "parse_example")
_MOST_ABSENT = 8


def without_labels(call: Callable[[Any], Any], spec: Any, *, takes_mode: bool) -> Callable[[Any], Any]:
    """Return `call`, made to work on records (of `spec`) that lack what only the labels need.

    A function that takes the mode is left as it is. Raises ModelError if the features need a column that is missing.
    """
    if takes_mode:
        return call
    return _on_columns(call, spec) if isinstance(spec, Mapping) else _on_examples(call, spec)


# ------------------------------------------------------------------ columns


class _Columns(dict[str, Any]):
    """A record that remembers which missing columns were requested."""

    missed: list[str]

    def __missing__(self, name: str) -> Any:
        self.missed.append(name)
        raise KeyError(name)

    def pop(self, name: str, *default: Any) -> Any:
        if name not in self and not default:
            self.missed.append(name)
        return super().pop(name, *default)


def _on_columns(call: Callable[[Any], Any], spec: Mapping[str, Any]) -> Callable[[Any], Any]:
    absent: dict[str, Any] = {}
    # Nothing says what type the label has.
    guesses: tuple[Any, ...] = (tf.float32, tf.int64, tf.string)
    shape = next(iter(spec.values())).shape[:1] if spec else []
    while True:
        missed: list[str] = []
        try:
            graph, inputs = _trace(call, {**spec, **absent}, missed)
            break
        except Exception as error:  # Whatever the user's code raises; raised again unless an absent column explains it.
            new = [name for name in missed if name not in absent][:1]
            if new and len(absent) < _MOST_ABSENT:
                absent[new[0]] = tf.TensorSpec(shape, guesses[0])
            elif absent and isinstance(error, (TypeError, ValueError)) and len(guesses) > 1:
                guesses = guesses[1:]
                absent = {name: tf.TensorSpec(shape, guesses[0]) for name in absent}
            elif absent:
                raise ModelError(_needed(absent)) from error
            else:
                raise
    if not absent:
        return call
    reached = _reached(graph.outputs)
    needed = [name for name in absent if id(inputs[name]) in reached]
    if needed:
        raise ModelError(_needed(needed))

    def complete(record: Any) -> Any:
        like = next(iter(record.values()))
        filled = {
            name: tf.fill(tf.shape(like)[: len(shape)], tf.zeros([], item.dtype)) for name, item in absent.items()
        }
        return call({**record, **filled})

    return complete


def _needed(names: Iterable[str]) -> str:
    return (
        f"the features are computed from {', '.join(names)}, which the data does not have. An input function that "
        "takes a second argument, mode, can avoid them when mode is Mode.PREDICTION"
    )


# ------------------------------------------------------------------ serialized tf.Example


def _on_examples(call: Callable[[Any], Any], spec: Any) -> Callable[[Any], Any]:
    parsed: dict[str, list[Any]] = {}

    def record_outputs(parser: Callable[..., Any], serialized: Any, features: Any, args: Any, kwargs: Any) -> Any:
        result = parser(serialized, features, *args, **kwargs)
        for name, value in result.items():
            parsed.setdefault(name, []).extend(tf.nest.flatten(value, expand_composites=True))
        return result

    with _parsers(record_outputs):
        graph, _ = _trace(call, spec, [])
    reached = _reached(graph.outputs)
    unneeded = {name for name, tensors in parsed.items() if not any(id(tensor) in reached for tensor in tensors)}
    if not unneeded:
        return call

    def fill_unneeded(parser: Callable[..., Any], serialized: Any, features: Any, args: Any, kwargs: Any) -> Any:
        lenient = {name: _with_default(feature) if name in unneeded else feature for name, feature in features.items()}
        return parser(serialized, lenient, *args, **kwargs)

    def complete(record: Any) -> Any:
        with _parsers(fill_unneeded):
            return call(record)

    return complete


def _with_default(feature: Any) -> Any:
    if not isinstance(feature, tf.io.FixedLenFeature) or feature.default_value is not None:
        return feature
    size = 1
    for dimension in feature.shape:
        size *= dimension
    zero = b"" if feature.dtype == tf.string else 0
    return tf.io.FixedLenFeature(feature.shape, feature.dtype, [zero] * size if list(feature.shape) else zero)


@contextlib.contextmanager
def _parsers(replacement: Callable[..., Any]) -> Iterator[None]:
    """Route tf.io's parsers of Examples through `replacement(parser, serialized, features, args, kwargs)`."""
    originals = {name: getattr(tf.io, name) for name in _PARSERS}

    def through(parser: Callable[..., Any]) -> Callable[..., Any]:
        def parse(serialized: Any, features: Any, *args: Any, **kwargs: Any) -> Any:
            return replacement(parser, serialized, features, args, kwargs)

        unconverted: Callable[..., Any] = tf.autograph.experimental.do_not_convert(parse)
        return unconverted

    try:
        for name, parser in originals.items():
            setattr(tf.io, name, through(parser))
        yield
    finally:
        for name, parser in originals.items():
            setattr(tf.io, name, parser)


# ------------------------------------------------------------------ tracing


def _trace(call: Callable[[Any], Any], spec: Any, missed: list[str]) -> tuple[Any, Any]:
    """Return the graph that computes the features, and its inputs; `missed` collects the missing columns."""
    inputs: Any = None

    def features_of(record: Any) -> Any:
        nonlocal inputs
        inputs = record
        if isinstance(record, Mapping):
            inputs = dict(record)
            record = _Columns(record)
            record.missed = missed
        result = call(record)
        pair = isinstance(result, (tuple, list)) and len(result) == 2
        return result[0] if pair else result

    graph = tf.function(features_of).get_concrete_function(spec).graph
    return graph, inputs


def _reached(outputs: Iterable[Any]) -> set[int]:
    """The ids of all tensors from which these are computed."""
    reached: set[int] = set()
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in reached:
            continue
        reached.add(id(tensor))
        waiting.extend(tensor.op.inputs)
        for operation in tensor.op.control_inputs:
            waiting.extend(operation.inputs)
            waiting.extend(operation.outputs)
    return reached

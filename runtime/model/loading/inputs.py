"""From chunks of records to batches of features and labels, with the user's input function or dataset_fn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError, OptionError
from elasticdl_nb.runtime.mode import Mode
from elasticdl_nb.runtime.model.contract import is_batched
from elasticdl_nb.runtime.model.loading.calls import parameters, positional
from elasticdl_nb.runtime.model.loading.modules import user_code
from elasticdl_nb.runtime.model.loading.unlabelled import without_labels
from elasticdl_nb.runtime.model.loading.weights import Split, weight_taker, with_class_weights

PARSED_AT_ONCE = 4096
"""Number of records that a batched input function gets at a time, if the task has that many."""


def taken_at_once(
    input_fn: Callable[..., Any] | None, dataset_fn: Callable[..., Any] | None, batch_size: int, task_records: int
) -> int | None:
    """Return how many records `make_batches` gives to the user's function at a time; None if one by one."""
    if not is_batched(input_fn if input_fn is not None else dataset_fn):
        return None
    # A call of an input function costs as much for one small batch as for many.
    batches = max(1, min(PARSED_AT_ONCE, task_records) // batch_size) if input_fn is not None else 1
    return batches * batch_size


def make_batches(
    chunks: tf.data.Dataset,
    mode: Mode,
    metadata: Any,
    *,
    input_fn: Callable[..., Any] | None,
    dataset_fn: Callable[..., Any] | None,
    root: str,
    batch_size: int,
    shuffle_seed: int | None,
    task_records: int,
    number: Any = None,
    needs_labels: bool = True,
    weight_column: str = "",
    class_weights: Mapping[str, float] | None = None,
) -> tf.data.Dataset:
    """Return the batches of one task as a dataset that can be iterated again and again.

    Elements are (features, labels), (features, labels, sample weights), (features,) for a model that needs no labels,
    or only features when predicting. `weight_column` and `class_weights` (for training) add the weights. With
    `shuffle_seed`, the task's records are shuffled, in a different order for every `number` (without one, for every
    iteration), except before a dataset_fn that takes single records, where shuffling is up to the user. Raises
    ModelError if the user's function fails or returns something else.
    """
    function = input_fn if input_fn is not None else dataset_fn
    assert function is not None
    if shuffle_seed is not None and (input_fn is not None or is_batched(function)):
        chunks = _mixed(chunks, shuffle_seed, task_records, number)
    at_once = taken_at_once(input_fn, dataset_fn, batch_size, task_records)
    records = chunks.unbatch() if at_once is None else chunks.rebatch(at_once)
    name = getattr(function, "__name__", "input_fn")
    if input_fn is not None:
        call = _record_function(input_fn, mode, metadata)
        normal = partial(_normal, mode=mode, name=name, needs_labels=needs_labels)
        if mode is Mode.PREDICTION:
            normal = partial(_features, name=name, takes_mode=_takes_mode(input_fn))
            with user_code(f"{name} (predicting)", root):
                call = without_labels(call, records.element_spec, takes_mode=_takes_mode(input_fn))
        if weight_column and mode is not Mode.PREDICTION:
            call = _weighted(call, weight_taker(weight_column, records.element_spec, metadata), name)
        with user_code(name, root):
            dataset = records.map(
                lambda *parts: normal(call(*parts)),
                num_parallel_calls=tf.data.AUTOTUNE,
                deterministic=True,
            )
    else:
        if weight_column and mode is not Mode.PREDICTION:
            raise OptionError(
                "sample_weight_column",
                f"works with an input function; {name} can return sample weights as a third value",
            )
        dataset = _apply_dataset_fn(function, records, mode, metadata, name, root)
        dataset = _normal_dataset(dataset, mode, name, needs_labels)
    if not is_batched(function):
        dataset = dataset.batch(batch_size)
    elif input_fn is not None:
        dataset = dataset.rebatch(batch_size)
    if class_weights and mode is Mode.TRAINING:
        dataset = with_class_weights(dataset, class_weights, name)
    return dataset.prefetch(tf.data.AUTOTUNE)


def _mixed(chunks: tf.data.Dataset, seed: int, task_records: int, number: Any) -> tf.data.Dataset:
    """The task's records in random order, as one element; several if there are more than `task_records`."""

    def mix(records: Any, number: Any) -> Any:
        count = tf.shape(tf.nest.flatten(records)[0])[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(count), seed=tf.stack([number, seed]))
        return tf.nest.map_structure(lambda tensor: tf.gather(tensor, order), records)

    if number is None:
        numbers = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True)
    else:
        numbers = tf.data.Dataset.from_tensors(number).repeat()
    return tf.data.Dataset.zip((chunks.rebatch(max(task_records, 1)), numbers)).map(mix)


def _weighted(call: Callable[[Any], Any], take: Split, name: str) -> Callable[[Any], Any]:
    def weighted(record: Any) -> Any:
        record, weights = take(record)
        result = call(record)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise ModelError(
                f"{name} must return (features, label) with sample_weight_column; it returned {_form(result)}"
            )
        return (*result, weights)

    return weighted


def _takes_mode(function: Callable[..., Any]) -> bool:
    return any(parameter.name == "mode" for parameter in parameters(function)) or len(positional(function)) >= 2


def _record_function(function: Callable[..., Any], mode: Mode, metadata: Any) -> Callable[[Any], Any]:
    """The input function with mode and metadata bound, where it takes them."""
    named = {parameter.name for parameter in parameters(function)}
    extra: dict[str, Any] = {}
    if "metadata" in named:
        extra["metadata"] = metadata
    if "mode" in named:
        extra["mode"] = mode
        return lambda record: function(record, **extra)
    others = [parameter for parameter in positional(function)[1:] if parameter.name not in extra]
    if any(parameter.default is parameter.empty for parameter in others):
        return lambda record: function(record, mode, **extra)
    return lambda record: function(record, **extra)


def _normal(result: Any, mode: Mode, name: str, needs_labels: bool) -> Any:
    """Return a record in the form of `make_batches`' elements, from what the user's function returned."""
    parts = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    _check_parts(parts, result, mode, f"{name} must return", needs_labels)
    return parts


def _features(result: Any, name: str, takes_mode: bool) -> Any:
    """Return the features of a record to predict for; there may be a label and a weight beside them."""
    alone = not isinstance(result, (tuple, list)) or len(result) > 3
    if takes_mode and not alone and isinstance(result, list) and _stack(result):
        raise ModelError(
            f"{name} returned a list of {len(result)} values when predicting, which may be features, or features and "
            "label: return the features as one tensor (tf.stack) or a dict, or a tuple (features, label)"
        )
    features = result if alone else result[0]
    # As beside a label: tf.data makes a list one tensor, unless it is all that a function returns.
    return tf.convert_to_tensor(features) if isinstance(features, list) else features


def _stack(values: list[Any]) -> bool:
    """Whether these can become one tensor."""
    if any(isinstance(value, (dict, tuple)) for value in values):
        return False
    tensors = [tf.convert_to_tensor(value) for value in values]
    return len({(one.dtype, str(one.shape)) for one in tensors}) == 1


def _check_parts(parts: tuple[Any, ...], given: Any, mode: Mode, must: str, needs_labels: bool) -> None:
    if len(parts) not in ((2, 3) if needs_labels else (1, 2, 3)):
        raise ModelError(
            f"{must} (features, label) or (features, label, sample_weight) in {mode.value}; it returned {_form(given)}"
        )


def _form(result: Any) -> str:
    if isinstance(result, dict):
        return f"a dict of {', '.join(map(str, result))}"
    if isinstance(result, (tuple, list)):
        return f"{len(result)} values"
    return f"a {type(result).__name__}"


def _apply_dataset_fn(
    function: Callable[..., Any], records: tf.data.Dataset, mode: Mode, metadata: Any, name: str, root: str
) -> tf.data.Dataset:
    variadic = any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters(function))
    count = 3 if variadic else max(1, min(3, len(positional(function))))
    with user_code(name, root):
        dataset = function(*(records, mode, metadata)[:count])
    if not isinstance(dataset, tf.data.Dataset):
        raise ModelError(f"{name} must return a tf.data.Dataset; it returned {_form(dataset)}")
    return dataset


def _normal_dataset(dataset: tf.data.Dataset, mode: Mode, name: str, needs_labels: bool) -> tf.data.Dataset:
    spec = dataset.element_spec
    parts = spec if isinstance(spec, tuple) else (spec,)
    if mode is Mode.PREDICTION:
        return dataset.map(lambda features, *_: features) if isinstance(spec, tuple) and len(spec) <= 3 else dataset
    _check_parts(parts, spec, mode, f"{name} must return a dataset of", needs_labels)
    return dataset if isinstance(spec, tuple) else dataset.map(lambda features: (features,))

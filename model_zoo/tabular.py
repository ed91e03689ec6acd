"""Records of any form as the input of models for tables: numbers [n, a] and categories [n, b]."""

import tensorflow as tf
from sqlflow import decode_examples, hashed, number_of, text_of

from elasticdl_nb import Mode

BUCKETS = 10_000


def tabular_input(records, mode, metadata, *, features=None, label="label"):
    """Turn a batch of records into {"numbers": float [n, a], "categories": int [n, b]} and the label column [n].

    `features` names the columns to use; by default all but the label. Columns of strings become categories: hashes
    below 10,000 of their name and value. Records may be columns of a table, rows of strings (CSV), or serialized
    Examples. Examples have no list of columns, so without `features` theirs are hashed to 256 numbers by their names
    (see `sqlflow.elasticdl_input_function`), and with `features` they must be numbers.
    """
    if isinstance(records, dict):
        columns = records
    elif records.shape.rank == 2:
        columns = _columns_of_rows(records, metadata)
    else:
        return _from_examples(records, mode, features, label)
    names = [name for name in (features or sorted(columns)) if name != label]
    absent = [name for name in names if name not in columns]
    if absent:
        raise ValueError(f"the data has no column {', '.join(absent)}; it has {', '.join(columns)}")
    made = _encode({name: columns[name] for name in names})
    if mode == Mode.PREDICTION:
        return made
    if label not in columns:
        raise ValueError(f"the data has no column {label!r} for the label; set it with params: label='…'")
    return made, columns[label]


def _encode(columns):
    numbers, categories = [], []
    for name, column in columns.items():
        if column.dtype == tf.string:
            keys = tf.strings.join([f"{name}=", column])
            categories.append(tf.strings.to_hash_bucket_fast(keys, BUCKETS))
        else:
            column = tf.cast(column, tf.float32)
            numbers.append(column[:, tf.newaxis] if column.shape.rank == 1 else column)
    made = {}
    if numbers:
        made["numbers"] = tf.concat(numbers, axis=1)
    if categories:
        made["categories"] = tf.stack(categories, axis=1)
    return made


def _columns_of_rows(rows, metadata):
    columns = {}
    for index, name in enumerate(metadata.column_names):
        is_text = metadata.column_dtypes.get(name) in ("string", "str", "large_string")
        columns[name] = rows[:, index] if is_text else tf.strings.to_number(rows[:, index])
    return columns


def _from_examples(records, mode, features, label):
    names, numbers, texts, is_text = decode_examples(records)
    if features:
        chosen = [number_of(names, numbers, name) for name in features if name != label]
        made = {"numbers": tf.stack(chosen, axis=1)}
    else:
        made = {"numbers": hashed(names, numbers, texts, is_text, exclude=label)}
    if mode == Mode.PREDICTION:
        return made
    is_label = tf.logical_and(tf.equal(names, label), is_text)
    as_text = text_of(names, texts, label)
    as_number = number_of(names, numbers, label)
    return made, tf.where(tf.reduce_any(is_label, axis=1), as_text, tf.strings.as_string(as_number))

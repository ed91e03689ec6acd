"""What a prediction job has found, as a table beside the rows that it was given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.runtime.data import examples
from elasticdl_nb.runtime.data.reader import format_of, open_reader
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.spec import ARRAY_INPUT, JobSpec


def read_predictions(spec: JobSpec) -> pa.Table:
    """Return the predictions of a job that has ended, one row for each record, in the order of the data.

    Raises DataError or OptionError for an output that has changed or gone since.
    """
    return _read([spec.output], {})


def with_inputs(spec: JobSpec, predictions: pa.Table) -> pa.Table:
    """Return the columns of the job's data with the predictions after them.

    Data that has no columns, such as arrays or serialized images, is left out, as is data that only the model's own
    reader can read. A predicted column whose name the data has already gets a number. Raises DataError if the data has
    changed.
    """
    inputs = None if spec.custom_data_reader or spec.input_fn == ARRAY_INPUT else _inputs(spec)
    if inputs is None:
        return predictions
    if inputs.num_rows != predictions.num_rows:
        raise DataError(
            f"data: {inputs.num_rows} rows, but there are {predictions.num_rows} predictions; has the data changed?"
        )
    for name in predictions.column_names:
        inputs = inputs.append_column(_free(name, inputs.column_names), predictions[name])
    return inputs


def _inputs(spec: JobSpec) -> pa.Table | None:
    try:
        return _read(spec.data, spec.data_reader_params)
    except DataError as error:
        if "tf.train.Example" in str(error):
            return None
        raise


def _free(name: str, taken: Sequence[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _read(paths: Sequence[str], params: dict[str, Any]) -> pa.Table:
    reader = open_reader(paths, params)
    if reader.form == "strings" and "typed" not in params:
        reader = open_reader(paths, {**params, "typed": True})
    files = [file.path for file in reader.files()]
    if not {*params} - {"columns"} and all(format_of(path) == "parquet" and "://" not in path for path in files):
        return pa.concat_tables([pq.read_table(path) for path in files])  # with columns of every type
    chunks = [
        chunk
        for file in reader.files()
        for chunk in reader.read(file.path, file.start, file.start + file.records)
    ]  # fmt: skip
    if reader.form != "bytes":
        return pa.Table.from_batches(chunks)
    decoded = examples.decode([record for chunk in chunks for record in chunk.to_list()])
    return pa.table(
        {name: examples.convert(array, examples.natural_type(array), name) for name, array in decoded.items()}
    )

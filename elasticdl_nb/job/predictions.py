"""What a prediction job has found, as a table beside the rows that it was given."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.runtime.data import examples
from elasticdl_nb.runtime.data.reader import format_of, open_reader
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.spec import ARRAY_INPUT, JobSpec

_INDEX = "index.parquet"


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


def keep_index(data: Any, folder: Path) -> None:
    """Keep the index of a pandas frame or series in a job's folder, unless it only counts the rows."""
    if type(data).__module__.partition(".")[0] != "pandas" or not hasattr(data, "index"):
        return
    index = data.index
    if list(index.names) == [None] and index.dtype.kind == "i" and list(index) == [*range(len(index))]:
        return
    names = [None if name is None else str(name) for name in index.names]
    with contextlib.suppress(pa.ArrowException):  # an index that no file can hold
        levels = [pa.Array.from_pandas(index.get_level_values(place)) for place in range(index.nlevels)]
        table = pa.table(levels, names=list(map(str, range(index.nlevels))))
        pq.write_table(table.replace_schema_metadata({"names": json.dumps(names)}), folder / _INDEX)


def with_index(frame: Any, folder: Path) -> Any:
    """Return a frame with the index that was kept; levels with names, which were read as columns, are none then."""
    if not (folder / _INDEX).exists():
        return frame
    import pandas as pd

    table = pq.read_table(folder / _INDEX)
    names, levels = json.loads(table.schema.metadata[b"names"]), table.to_pandas()
    index = pd.Index(levels["0"]) if len(names) == 1 else pd.MultiIndex.from_frame(levels)
    columns = [name or f"level_{place}" for place, name in enumerate(names)] if any(names) else []
    return frame.drop(columns=columns, errors="ignore").set_axis(index.set_names(names))


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

"""What the client and a worker do with a frame before the first step, in one process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from elasticdl_nb.given.frames import write_frame
from elasticdl_nb.given.tables import look, with_input_function
from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.tables.tablerecord import TableRecord
from elasticdl_nb.tables.zoo.tablefunction import BoundTable, TableFunction


@dataclass
class Looked:
    """A job's record, its options afterwards, and the zoo with the record."""

    record: TableRecord
    spec: JobSpec
    zoo: Path

    def bound(self, model: Any, loss: Any = None) -> BoundTable:
        return TableFunction.read(self.zoo / "table_columns.json").bind(model, loss or getattr(model, "loss", None))

    def columns(self, option: str = "data") -> dict[str, Any]:
        """All records of the job, as a worker reads them."""
        reader = open_reader(getattr(self.spec, option), self.spec.data_reader_params)
        batches = [b for f in reader.files() for b in reader.read(f.path, f.start, f.start + f.records)]
        return {
            name: tf.constant(np.concatenate([columntypes.to_numpy(batch.column(name)) for batch in batches]))
            for name in batches[0].schema.names
        }


def looked(root: Path, frame: Any, label: str, **given: Any) -> Looked:
    """Look at a frame, or at the file of this name."""
    zoo, data = root / "zoo", root / "data"
    zoo.mkdir(parents=True)
    data.mkdir()
    paths = {}
    for option, value in (("data", frame), ("validation_data", given.pop("validation_data", None))):
        if isinstance(value, (str, Path)):
            paths[option] = str(value)
        elif value is not None:
            write_frame(value, data / f"{option}.parquet", option)
            paths[option] = str(data / f"{option}.parquet")
    spec = JobSpec.create("train", model="m.Model", label=label, **paths, **given)
    spec, record = look(with_input_function(spec, zoo), zoo, data)
    return Looked(record, spec, zoo)


def features(root: Path, frame: Any, label: str, model: Any, **given: Any) -> Any:
    """What the model gets of all records, as NumPy arrays."""
    found = looked(root, frame, label, **given)
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), found.bound(model).features(found.columns()))

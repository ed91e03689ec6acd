"""Arrays as files: the module that makes an input function of them, and the Arrow files that a job reads."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from elasticdl_nb.given.arrays import Arrays
from elasticdl_nb.given.tables import held_out
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.tables.arrayrecord import FILE, MODULE, ArrayRecord, record_text

_GENERATED = f'''"""What the model gets of arrays, made from the record in {FILE}, beside this file."""

from pathlib import Path

from elasticdl_nb.tables.zoo.arrayfunction import ArrayFunction

input_fn = ArrayFunction.read(Path(__file__).with_name("{FILE}"))
'''


def write_function(zoo: Path, record: ArrayRecord) -> None:
    """Write the module of the input function into a zoo; raise OptionError if the zoo has such a module already."""
    module = zoo / f"{MODULE}.py"
    if module.exists():
        raise OptionError("model_zoo", f"{module.name} has the name of the module that is written for data in arrays")
    module.write_text(_GENERATED)
    (zoo / FILE).write_text(record_text(record))


def write_arrays(arrays: Arrays, path: Path) -> int:
    """Write the records to an Arrow file and return their number."""
    with _Writer(path, arrays.schema, arrays.rows_per_batch) as writer:
        for batch in arrays.batches():
            writer.write(batch)
    return writer.rows


def hold_out(path: Path, held: Path, share: float, seed: int) -> None:
    """Move a share of the file's records, chosen by a seed, to another file."""
    whole = path.with_name(f"{path.stem}-and-{held.name}")
    path.rename(whole)
    with pa.memory_map(os.fspath(whole)) as source:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        most = max(batch.num_rows for batch in batches)
        chosen, start = held_out(sum(batch.num_rows for batch in batches), share, seed), 0
        with _Writer(path, reader.schema, most) as rest, _Writer(held, reader.schema, most) as taken:
            for batch in batches:
                mask = pa.array(chosen[start : start + batch.num_rows])
                start += batch.num_rows
                taken.write(batch.filter(mask))
                rest.write(batch.filter(pc.invert(mask)))
    whole.unlink()


class _Writer:
    """Writes an Arrow file whose batches have so many rows."""

    def __init__(self, path: Path, schema: pa.Schema, size: int) -> None:
        self.rows = 0
        self._schema, self._size, self._waiting = schema, size, list[pa.RecordBatch]()
        self._file = pa.ipc.new_file(os.fspath(path), schema)

    def __enter__(self) -> _Writer:
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        self.rows += batch.num_rows
        self._waiting.append(batch)
        if sum(one.num_rows for one in self._waiting) >= self._size:
            self._flush()

    def _flush(self) -> None:
        self._file.write_table(pa.Table.from_batches(self._waiting, self._schema), max_chunksize=self._size)
        self._waiting = []

    def __exit__(self, *error: object) -> None:
        if self._waiting:
            self._flush()
        self._file.close()

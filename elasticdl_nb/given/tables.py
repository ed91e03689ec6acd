"""Jobs with a `label`: looks at the columns of the data, and puts what a worker needs of them into the model's zoo.

The data is read once for that, and a second time if records without a label, or those to validate on, must be taken out
of it: the job then gets copies in its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elasticdl_nb.given.earlier import earlier_record
from elasticdl_nb.given.frames import write_stream
from elasticdl_nb.runtime.data import columntypes
from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.data.tablereader import TableReader
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.contract import TABLE_INPUT
from elasticdl_nb.runtime.model.saving.trained import read_trained_model
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.tables.choosing import (
    check_classes,
    check_weights,
    choose,
    choose_columns,
    class_numbers,
    describe_label,
    usable,
)
from elasticdl_nb.tables.continuing import check_same_columns, continued
from elasticdl_nb.tables.facts import Facts, collect
from elasticdl_nb.tables.kinds import family, kind_of
from elasticdl_nb.tables.tablerecord import FILE, MODULE, TableRecord, read_record, record_text

_GENERATED = f'''"""What the model gets of a table's columns, made from the record in {FILE}, beside this file."""

from pathlib import Path

from elasticdl_nb.tables.zoo.tablefunction import TableFunction

input_fn = TableFunction.read(Path(__file__).with_name("{FILE}"))
'''


def with_input_function(spec: JobSpec, zoo: Path) -> JobSpec:
    """Return a job with a label with the name of its input function, whose module is written into the zoo.

    Raises OptionError if the zoo has such a module already.
    """
    module = zoo / f"{MODULE}.py"
    if module.exists():
        raise OptionError("model_zoo", f"{module.name} has the name of the module that is written for the option label")
    module.write_text(_GENERATED)
    return spec.replace(input_fn=TABLE_INPUT)


def look(spec: JobSpec, zoo: Path, copies: Path) -> tuple[JobSpec, TableRecord]:
    """Describe the columns of the job's data, and write that into the zoo, for the module written before.

    Returns the job with data that has labels in all records, and with what is to be validated on taken out. Raises
    OptionError and DataError if there is nothing to learn from these columns.
    """
    table = _Table.open(spec.data, spec.data_reader_params, "data")
    weights = [spec.sample_weight_column] if spec.sample_weight_column else []
    earlier, place = earlier_record(spec), spec.checkpoint_dir_for_init
    if earlier is not None:
        check_same_columns(earlier, table.kinds, spec.label, spec.features, place)
    names = choose_columns(table.kinds, spec.label, earlier.names if earlier else spec.features, weights)
    wanted = usable(table.kinds, [*names, *weights, spec.label])
    if spec.label not in wanted:
        describe_label(spec.label, table.kinds[spec.label], Facts())
    params = _params(table, wanted)
    table = table.reopened(params)
    facts = collect(table.batches(), wanted)
    record = continued(earlier, facts, place) if earlier is not None else None
    label = record.label if record else describe_label(spec.label, wanted[spec.label], facts[spec.label])
    for name in weights:
        check_weights(name, table.kinds[name], facts.get(name, Facts()))
    weighed = class_numbers(label, spec.class_weight)
    notes, changed = [], spec.replace(data_reader_params=params, class_weight=weighed)
    if missing := facts[spec.label].missing:
        notes.append(f"{missing:,} of {facts[spec.label].rows:,} records have no {spec.label} and are left out")
    validation = _validation(spec, params, wanted)
    if validation is not None:
        check_classes(label, validation.facts, "validation_data")
        if validation.facts.missing:
            notes.append(f"{validation.facts.missing:,} records of validation_data have no {spec.label} either")
    if missing or spec.validation_split or (validation is not None and validation.must_be_copied(params)):
        changed = _copied(changed, table, facts[spec.label], validation, copies)
        table = _Table.open(changed.data, changed.data_reader_params, "data")
        numbers = {name: kind for name, kind in wanted.items() if kind != "text"}
        # Texts of all records, so that the size of a vector does not depend on which ones are left out.
        facts = {**facts, **collect(table.batches(), numbers)}
    if record is None:
        record = choose({name: table.kinds[name] for name in names}, facts, label, spec.features)
    record = replace(record, notes=(*notes, *record.notes), reader=params)
    (zoo / FILE).write_text(record_text(record))
    return changed, record


def params_of_table(zoo: str, input_fn: str) -> Mapping[str, Any] | None:
    """Return how files of such rows are read for a trained model with this zoo; None if it had no label."""
    if input_fn != TABLE_INPUT:
        return None
    return read_record(Path(zoo, FILE).read_bytes()).reader


def check_labels(spec: JobSpec) -> None:
    """Raise OptionError if data to evaluate a model on, which was trained with a label, lacks labels or has others."""
    _, definition = read_trained_model(spec.trained_model)
    if definition.overridden(spec).input_fn != TABLE_INPUT:
        return
    label = read_record(Path(definition.zoo, FILE).read_bytes()).label
    table = _Table.open(spec.data, spec.data_reader_params, "data")
    kind = table.kinds.get(label.column)
    if kind is None:
        raise OptionError("data", f"has no column {label.column!r}, the label that the model predicts")
    if family(kind) != family(label.kind):
        raise OptionError("data", f"the label {label.column!r} is {kind}, but {label.kind} in the training")
    facts = collect(table.batches(), {label.column: kind})[label.column]
    if facts.missing:
        cure = f"leave them out, for example with frame.dropna(subset=[{label.column!r}])"
        raise OptionError("data", f"{facts.missing:,} of {facts.rows:,} records have no {label.column}; {cure}")
    check_classes(label, facts, "data")


def check_live_model(record: TableRecord, model: Any, loss: Any) -> tuple[str, ...]:
    """Return the notes on what a Keras model object of this process will get; raise ModelError if it does not fit."""
    from elasticdl_nb.tables.zoo.tablefunction import TableFunction

    make: Any = TableFunction
    return tuple(make(record).bind(model, loss or getattr(model, "loss", None)).notes)


# ------------------------------------------------------------------ reading


@dataclass(frozen=True)
class _Table:
    """The files of one option, and the kinds of their columns."""

    reader: TableReader
    paths: Sequence[str]
    option: str
    params: Mapping[str, Any]
    kinds: Mapping[str, str]

    @classmethod
    def open(cls, paths: Sequence[str], params: Mapping[str, Any], option: str) -> _Table:
        reader = open_reader(paths, params, option)
        if reader.form == "strings":
            params = {**params, "typed": True}
            reader = open_reader(paths, params, option)
        if not isinstance(reader, TableReader):
            raise OptionError(
                "label", f"{option} has no columns: give a frame, or CSV, Parquet or Arrow files, or use an input_fn"
            )
        kinds = {field.name: kind_of(field.type) for field in reader.schema}
        if params.get("typed"):
            # Bytes in a CSV file are texts that could not be decoded.
            kinds |= {field.name: "undecoded" for field in reader.schema if kinds[field.name] == "other"}
        return cls(reader, paths, option, params, kinds)

    def reopened(self, params: Mapping[str, Any]) -> _Table:
        return _Table.open(self.paths, params, self.option)

    def batches(self) -> Iterator[pa.RecordBatch]:
        for file in self.reader.files():
            yield from self.reader.read(file.path, file.start, file.start + file.records)


def _params(table: _Table, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters with which only these columns are read; those of CSV files also say what a file is like."""
    params = dict(table.params)
    if not params.get("typed") and set(wanted) != set(table.kinds):
        params["columns"] = [name for name in table.kinds if name in wanted]
    return params


def _of_copies(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name == "columns"}


@dataclass(frozen=True)
class _Validation:
    table: _Table
    facts: Facts

    def must_be_copied(self, params: Mapping[str, Any]) -> bool:
        return self.facts.missing > 0 or self.table.params != params


def _validation(spec: JobSpec, params: Mapping[str, Any], wanted: Mapping[str, str]) -> _Validation | None:
    if not spec.validation_data:
        return None
    try:
        table = _Table.open(spec.validation_data, params, "validation_data")
    except OptionError as error:
        if error.option != "data_reader_params":
            raise
        # Another format than the data's, so it will be copied.
        table = _Table.open(spec.validation_data, _of_copies(params), "validation_data")
    if any(name not in wanted and not usable(table.kinds, [name]) for name in table.kinds):
        table = table.reopened({**table.params, "columns": [name for name in table.kinds if name in wanted]})
    for name, kind in wanted.items():
        if name not in table.kinds:
            raise OptionError("validation_data", f"has no column {name!r}, which the data has")
        if family(table.kinds[name]) != family(kind) and "empty" not in (kind, table.kinds[name]):
            raise OptionError("validation_data", f"the column {name!r} is {table.kinds[name]}, but {kind} in the data")
    return _Validation(table, collect(table.batches(), {spec.label: wanted[spec.label]})[spec.label])


# ------------------------------------------------------------------ copies


def _copied(spec: JobSpec, table: _Table, known: Facts, validation: _Validation | None, copies: Path) -> JobSpec:
    """Copy the records that have labels, and divide them if some are for validation."""
    copies.mkdir(exist_ok=True)
    train, check = copies / "with_label.parquet", copies / "validation_with_label.parquet"
    params = _of_copies(spec.data_reader_params)
    data, validation_data = (os.fspath(train),), spec.validation_data
    if spec.validation_split:
        held = held_out(known.known, spec.validation_split, spec.seed)
        _write(table, spec.label, train, ~held)
        _write(table, spec.label, check, held)
        validation_data = (os.fspath(check),)
    else:
        _write(table, spec.label, train, np.ones(known.known, bool))
    if validation is not None:
        _write(validation.table, spec.label, check, np.ones(validation.facts.known, bool))
        validation_data = (os.fspath(check),)
    return spec.replace(data=data, validation_data=validation_data, data_reader_params=params)


def held_out(count: int, share: float, seed: int) -> Any:
    """Choose the records to validate on: as many as the share says, at least one, and not all."""
    held = min(max(round(count * share), 1), count - 1)
    return np.random.default_rng(seed).permutation(count) < held


def _write(table: _Table, label: str, path: Path, chosen: Any) -> None:
    """Write the chosen ones of those records that have a label."""

    def batches() -> Iterator[pa.RecordBatch]:
        start = 0
        for batch in table.batches():
            found = columntypes.to_numpy(batch.column(label))
            if found.dtype == object:
                mask = np.array([value != b"" for value in found], bool)
            else:
                mask = np.isfinite(found) if found.dtype.kind == "f" else np.ones(len(found), bool)
            count = int(mask.sum())
            mask[mask] = chosen[start : start + count]
            start += count
            yield batch.filter(pa.array(mask))

    about = table.reader.metadata
    columns = [columntypes.Column(name, about.column_dtypes[name]) for name in about.column_names]
    fields = [(column.name, column.arrow_type) for column in columns]
    write_stream(pa.RecordBatchReader.from_batches(pa.schema(fields), batches()), path)

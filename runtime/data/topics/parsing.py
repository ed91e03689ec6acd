"""Values of records as columns. Whether a record can be used depends on nothing but the record itself.

So a range of offsets that is read again, perhaps in other pieces, gives the same records.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from elasticdl_nb.runtime.compiled import ENABLED
from elasticdl_nb.runtime.data import columntypes, examples
from elasticdl_nb.runtime.data.topics.examplescan import Wanted, scan
from elasticdl_nb.runtime.data.topics.schema import Field
from elasticdl_nb.runtime.errors import DataError

Bad = list[tuple[int, str]]
"""Places of values that cannot be used, and why."""

Parse = Callable[[Sequence[bytes | None]], tuple[list[pa.Array], NDArray[np.int64], Bad]]
"""Takes values; returns a column for each field, the places of the values that they have, and those they lack."""


def json_parser(fields: Sequence[Field]) -> Parse:
    """Return what parses JSON objects that have these fields; others are ignored."""
    schema = pa.schema([(one.column.name, _loose(one, pa.string())) for one in fields])
    options = pj.ParseOptions(explicit_schema=schema, newlines_in_values=True, unexpected_field_behavior="ignore")

    def table(values: Sequence[bytes]) -> pa.Table:
        """Parse values that begin and end with braces, on a line each; raise ArrowInvalid if one is not an object.

        No value, whatever is in it, can reach into the next: after a closing brace, an opening one is an error unless
        the object before is complete, and so is a line that ends within a text.
        """
        text = b"\n".join(values)
        try:
            text.decode()
        except UnicodeDecodeError:
            raise pa.ArrowInvalid("it is not UTF-8") from None
        read = pj.ReadOptions(use_threads=False, block_size=len(text) + 1)
        found = pj.read_json(pa.BufferReader(text), read_options=read, parse_options=options)
        if found.num_rows != len(values):
            raise pa.ArrowInvalid("it is not one JSON object")
        return found.select(schema.names)

    def parse(values: Sequence[bytes | None]) -> tuple[list[pa.Array], NDArray[np.int64], Bad]:
        lines, places, bad = _lines(values)
        parts: list[pa.Table] = []
        good: list[int] = []
        waiting = [(0, len(lines))] if lines else []
        while waiting:  # halves of what cannot be parsed, until what is wrong stands alone
            start, end = waiting.pop()
            try:
                parts.append(table(lines[start:end]))
                good += places[start:end]
            except pa.ArrowInvalid as error:
                if end - start == 1:
                    bad.append((places[start], _short(error)))
                else:
                    middle = (start + end) // 2
                    waiting += [(middle, end), (start, middle)]
        whole = pa.concat_tables(parts) if parts else schema.empty_table()
        arrays = [column.combine_chunks() for column in whole.columns]
        return _columns(arrays, np.array(good, np.int64), fields, bad)

    return parse


def _lines(values: Sequence[bytes | None]) -> tuple[Sequence[bytes], Sequence[int], Bad]:
    """Return the values that may be objects, without newlines; their places; and the others."""
    if None not in values:
        text = np.frombuffer(b"\n".join([b"}", *values, b"{"]), np.uint8)  # type: ignore[list-item]
        (newlines,) = np.nonzero(text == ord("\n"))
        braces = (text[newlines - 1] == ord("}")) & (text[newlines + 1] == ord("{"))
        if len(newlines) == len(values) + 1 and braces.all():
            return values, range(len(values)), []  # type: ignore[return-value]
    lines: list[bytes] = []
    places: list[int] = []
    bad: Bad = []
    for place, value in enumerate(values):
        line = b"" if value is None else value.strip().replace(b"\n", b" ")
        if line[:1] == b"{" and line[-1:] == b"}":
            lines.append(line)
            places.append(place)
        else:
            bad.append((place, "it has no value" if value is None else "it is not a JSON object"))
    return lines, places, bad


def example_parser(fields: Sequence[Field]) -> Parse:
    """Return what parses tf.train.Examples that have these features; others are ignored."""
    kinds, wanted = [_loose(one, pa.binary()) for one in fields], Wanted.of(fields)

    def parse(values: Sequence[bytes | None]) -> tuple[list[pa.Array], NDArray[np.int64], Bad]:
        bad: Bad = []
        good: list[int] = []
        rows: list[list[object]] = []
        left: Sequence[int] = range(len(values))
        parts: list[list[pa.Array]] = [[] for _ in fields]
        if ENABLED:
            done, found = scan([value or b"" for value in values], fields, wanted)
            good, left = np.flatnonzero(done).tolist(), np.flatnonzero(~done).tolist()
            parts = [[array] for array in found]
        for place in left:
            value = values[place]
            try:
                if value is None:
                    raise DataError("it has no value")
                rows.append(_features(value, fields))
                good.append(place)
            except DataError as error:
                bad.append((place, str(error)))
        for n, kind in enumerate(kinds):
            parts[n].append(pa.array([row[n] for row in rows], kind))
        arrays = [pa.concat_arrays(part) if len(part) > 1 else part[0] for part in parts]
        return _columns(arrays, np.array(good, np.int64), fields, bad)

    return parse


def _features(value: bytes, fields: Sequence[Field]) -> list[object]:
    try:
        features = examples.Example.FromString(value).features.feature
    except DecodeError:
        raise DataError("it is not a tf.train.Example") from None
    row: list[object] = []
    for one in fields:
        name, wanted = one.column.name, _KINDS_OF[one.column.dtype[0]]
        kind = features[name].WhichOneof("kind") if name in features else None
        if kind is not None and kind not in wanted:
            raise DataError(f"feature {name!r} is a {kind}")
        items = list(getattr(features[name], kind).value) if kind else None
        if kind == "int64_list" and wanted is _KINDS_OF["f"] and items is not None:
            if large := [item for item in items if float(item) != item]:
                raise DataError(f"feature {name!r} has {large[0]}, which a float does not hold")
            items = [float(item) for item in items]
        if not one.column.shape and items is not None:
            if len(items) != 1:
                raise DataError(f"feature {name!r} has {len(items)} values instead of one")
            row.append(items[0])
        else:
            row.append(items)
    return row


_KINDS_OF = {"f": ("float_list", "int64_list"), "i": ("int64_list",), "s": ("bytes_list",)}


def _loose(one: Field, text: pa.DataType) -> pa.DataType:
    """The type of a field's values as they are parsed: lists may have any length."""
    column = one.column
    dtype = "bool" if one.is_bool else column.dtype
    kind = text if dtype == columntypes.STRING else pa.from_numpy_dtype(np.dtype(dtype))
    return pa.list_(kind) if column.shape else kind


def _columns(
    arrays: list[pa.Array], places: NDArray[np.int64], fields: Sequence[Field], bad: Bad
) -> tuple[list[pa.Array], NDArray[np.int64], Bad]:
    """Sort out the rows that lack a field, or have a list that does not fit; put the rest in order."""
    keep = np.ones(len(places), bool)

    def sort_out(wrong: pa.Array, why: str) -> None:
        mask = np.asarray(wrong.fill_null(False).to_numpy(zero_copy_only=False), bool) & keep
        bad.extend((int(places[n]), why) for n in np.flatnonzero(mask))
        keep[mask] = False

    for one, array in zip(fields, arrays, strict=True):
        name, shape = one.column.name, one.column.shape
        if array.null_count and not one.optional:
            sort_out(array.is_null(), f"field {name!r} is missing")
        if shape:
            sort_out(pc.not_equal(pc.list_value_length(array), shape[0]), f"field {name!r} has not {shape[0]} values")
            if array.flatten().null_count:
                lacking = pc.unique(pc.list_parent_indices(array).filter(array.flatten().is_null()))
                mask = np.zeros(len(places), bool)
                mask[lacking.to_numpy()] = True
                sort_out(pa.array(mask), f"field {name!r} has a value missing")
    order = np.argsort(places[keep], kind="stable")
    chosen = pa.array(np.flatnonzero(keep)[order])
    whole = keep.all() and bool((order[1:] > order[:-1]).all())
    arrays = arrays if whole else [array.take(chosen) for array in arrays]
    columns = [columntypes.normalise(array, one.column) for array, one in zip(arrays, fields, strict=True)]
    return columns, places[keep][order], bad


def _short(error: Exception) -> str:
    return str(error).removeprefix("JSON parse error: ").replace("in row 0", "").strip()[:200]

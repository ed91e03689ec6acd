"""How to read data for a trained model by default: as its training data was read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elasticdl_nb.runtime.data.reader import open_reader
from elasticdl_nb.runtime.errors import DataError, OptionError


def inherited(paths: Sequence[str], trained: Mapping[str, Any], *, labels_may_lack: bool) -> dict[str, Any]:
    """Return those of the trained model's data_reader_params with which this data can be read.

    For data in another format, parameters that only the old format has are left out. With `labels_may_lack`, named
    columns may be missing from the data, as long as others are there. If nothing fits, all parameters are returned, and
    reading with them raises the error to show.
    """
    for params in _candidates(paths, trained, labels_may_lack):
        try:
            open_reader(paths, params, "data").check()
        except (DataError, OptionError):
            continue
        return params
    return dict(trained)


def _candidates(paths: Sequence[str], trained: Mapping[str, Any], labels_may_lack: bool) -> Iterator[dict[str, Any]]:
    yield dict(trained)
    if labels_may_lack and "columns" in trained:
        yield from _fewer_columns(paths, dict(trained))
    columns = {name: trained[name] for name in ("columns",) if name in trained}
    yield columns
    if labels_may_lack and columns:
        yield from _fewer_columns(paths, columns)
    if not columns:
        yield {}


def _fewer_columns(paths: Sequence[str], params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    everything = {name: value for name, value in params.items() if name != "columns"}
    try:
        there = set(open_reader(paths, everything, "data").metadata.column_names)
    except (DataError, OptionError):
        return
    if kept := [name for name in params["columns"] if name in there]:
        yield {**params, "columns": kept}

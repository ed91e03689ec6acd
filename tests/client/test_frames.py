from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elasticdl_nb.given.frames import ROWS_PER_GROUP, is_frame, write_frame
from elasticdl_nb.runtime.errors import OptionError

COLUMNS = {"number": [1, 2, 3], "text": ["a", "b", None], "real": [0.5, 1.5, 2.5]}
FRAMES = {
    "pandas": pd.DataFrame(COLUMNS),
    "polars": pl.DataFrame(COLUMNS),
    "polars lazy": pl.LazyFrame(COLUMNS),
    "arrow table": pa.table(COLUMNS),
    "arrow batch": pa.record_batch(COLUMNS),
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames_of_every_kind_keep_columns_and_order(frame, tmp_path):
    assert is_frame(frame)
    write_frame(frame, tmp_path / "f.parquet", "data")
    assert pq.read_table(tmp_path / "f.parquet").to_pydict() == COLUMNS


def test_paths_are_no_frames(tmp_path):
    assert not any(is_frame(value) for value in ("x", tmp_path, ["x"], None))


def test_large_frames_are_cut_so_that_readers_can_seek(tmp_path):
    write_frame(pd.DataFrame({"x": np.arange(2 * ROWS_PER_GROUP + 1)}), tmp_path / "f.parquet", "data")
    assert pq.ParquetFile(tmp_path / "f.parquet").metadata.num_row_groups == 3


def test_an_index_is_data_only_if_it_has_a_name(tmp_path):
    frame = pd.DataFrame({"x": [1, 2]}, index=[7, 8])
    write_frame(frame, tmp_path / "f.parquet", "data")
    assert pq.read_table(tmp_path / "f.parquet").column_names == ["x"]
    write_frame(frame.rename_axis("id"), tmp_path / "f.parquet", "data")
    assert pq.read_table(tmp_path / "f.parquet").to_pydict() == {"id": [7, 8], "x": [1, 2]}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"ok": [1, 2], "mixed": [1, "a"]}), "data: column 'mixed' of the frame has values"),
        (pd.DataFrame({"odd": [object()]}), "data: column 'odd' of the frame has values"),
        (pd.DataFrame({"x": []}), "data: the frame has no rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "data: the frame has several columns named 'a'"),
    ],
)
def test_what_cannot_be_written_is_told_by_column(frame, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        write_frame(frame, tmp_path / "f.parquet", "data")

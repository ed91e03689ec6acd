"""Pulling a million rows of six columns into Parquet, compared with the engine's own Arrow export: time and memory.

Each side runs in a process of its own, and its peak memory is measured relative to the start. PostgreSQL is measured if
its programs and adbc-driver-postgresql are installed, on a server of the benchmark's own, or on a given server:
python benchmarks/sql_pull.py --postgresql postgresql://user@host/database
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROWS = 1_000_000
COLUMNS = (
    "i AS id, i * 0.5e0 AS price, 'name-' || (i % 1000) AS name, i % 97 AS code, i % 2 = 0 AS flag, "
    "DATE '2020-01-01' + CAST(i % 1000 AS INTEGER) AS day"
)
QUERY = "SELECT * FROM pulled"


def fill(url: str) -> None:
    from elasticdl_nb.sql import engines

    engine = engines.connect(url)
    engine.main.run("DROP TABLE IF EXISTS pulled")
    series = "range" if engine.dialect == "duckdb" else "generate_series"
    end = ROWS if engine.dialect == "duckdb" else ROWS - 1
    engine.main.run(f"CREATE TABLE pulled AS SELECT {COLUMNS} FROM {series}(0, {end}) AS r(i)")
    engine.close()


def pull(url: str, target: str) -> None:
    """What TRAIN does: the query's rows, batch by batch, into the job's Parquet file."""
    from elasticdl_nb.given.frames import write_frame
    from elasticdl_nb.sql import engines
    from elasticdl_nb.sql.features.selection import Selection

    engine = engines.connect(url)
    rows = Selection.of(engine, QUERY, None)
    write_frame(engine.stream(rows.pulled(list(rows.kinds))), target, "data")
    engine.close()


def export(url: str, target: str) -> None:
    """The engine's own Arrow export of the same rows to the same kind of file, and nothing else."""
    import pyarrow.parquet as pq

    if url.startswith("postgresql"):
        from adbc_driver_postgresql import dbapi

        connection = dbapi.connect(url)
        cursor = connection.cursor()
        cursor.execute(QUERY)
        reader = cursor.fetch_record_batch()
    else:
        import duckdb

        connection = duckdb.connect(url)
        reader = connection.sql(QUERY).to_arrow_reader(65_536)
    with pq.ParquetWriter(target, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch)
    connection.close()


def measured(side: str, url: str) -> dict[str, float]:
    """Run one side in a process of its own; return its seconds, and its peak of memory above the baseline in MB."""
    done = subprocess.run([sys.executable, __file__, "--side", side, "--url", url], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_side(side: str, url: str) -> None:
    import resource

    for name in ("pyarrow.parquet", "elasticdl_nb.given.frames", "elasticdl_nb.sql.features.selection"):
        importlib.import_module(name)  # what both sides load is part of the baseline
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        {"pull": pull, "export": export}[side](url, os.path.join(folder, "rows.parquet"))
        seconds = time.perf_counter() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "megabytes": (peak - before) / 1024}))


def compare(name: str, url: str, repeats: int) -> None:
    fill(url)
    best: dict[str, dict[str, float]] = {}
    for _ in range(repeats):  # in turn, so that a busy moment hits both
        for side in ("export", "pull"):
            found = measured(side, url)
            best[side] = found if side not in best else {key: min(best[side][key], found[key]) for key in found}
    for side, figures in best.items():
        print(f"{name:<12}{side:<8}{figures['seconds']:7.2f} s{figures['megabytes']:8.0f} MB above the baseline")
    print(f"{name:<12}pull takes {best['pull']['seconds'] / best['export']['seconds']:.2f} times the export")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgresql", default="", help="URL of a server to measure instead of one of its own")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--side", default="", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run_side(arguments.side, arguments.url)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare("DuckDB", os.path.join(folder, "data.duckdb"), arguments.repeats)
    with contextlib.nullcontext(arguments.postgresql) if arguments.postgresql else own_server() as url:
        if url:
            compare("PostgreSQL", url, arguments.repeats)
        else:
            print("PostgreSQL  is not installed")


@contextlib.contextmanager
def own_server() -> Iterator[str]:
    """The URL of a server in a temporary folder, or nothing if its programs are missing."""
    tests = Path(__file__).parents[1] / "tests"
    sys.path += [os.fspath(tests), os.fspath(tests / "sql")]
    import database_servers
    import requirements_of_tests

    if not requirements_of_tests.postgresql_program("postgres"):
        yield ""
        return
    with database_servers.postgresql() as server:
        yield server.url.replace("+psycopg", "")


if __name__ == "__main__":
    main()

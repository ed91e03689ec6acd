"""The result of a statement, and how notebooks and terminals show it."""

from __future__ import annotations

import base64
import datetime
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elasticdl_nb.sql.language.statements import Statement

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    from elasticdl_nb.job import Job

ROWS_SHOWN = 20
COLUMNS_SHOWN = 30
_CHARACTERS_SHOWN = 1000
_CELL = "text-align:{};vertical-align:top;padding:2px 12px 2px 0"
_MUTED = "opacity:0.7"


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one statement: its rows, if it returns any, its messages, and the job that ran.

    It is displayed as a table of its first rows. It is also an Arrow stream, which pandas, Polars, DuckDB and
    `elasticdl_nb.train(data=result)` can read.
    """

    statement: Statement
    table: pa.Table | None = None
    messages: tuple[str, ...] = ()
    job: Job | None = None
    plot: str = ""
    """An SVG picture, for EXPLAIN."""

    def arrow(self) -> pa.Table:
        """Return the rows as an Arrow table, which has no columns if the statement returns no rows."""
        import pyarrow as pa

        return pa.table({}) if self.table is None else self.table

    def df(self) -> pd.DataFrame:
        """Return the rows as a pandas frame; see `python_values` for moments that Python lacks."""
        table = self.arrow()
        try:
            return table.to_pandas()  # type: ignore[no-any-return]
        except (ValueError, OverflowError, NotImplementedError):  # Arrow's errors are of these kinds
            import pandas as pd

            frame = pd.DataFrame(dict(enumerate(map(python_values, table.columns))))
            return frame.set_axis(table.column_names, axis=1)

    def pl(self) -> pl.DataFrame:
        """Return the rows as a Polars frame."""
        import polars

        return polars.from_arrow(self.arrow())  # type: ignore[return-value]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.arrow().__arrow_c_stream__(requested_schema)

    def __len__(self) -> int:
        return 0 if self.table is None else self.table.num_rows

    def __bool__(self) -> bool:
        return True

    # ------------------------------------------------------------ how it looks

    def _repr_html_(self) -> str:
        parts = [f"<p>{html.escape(message)}</p>" for message in self.messages]
        if self.table is not None:
            parts += [_html_table(self.table), f'<p style="{_MUTED}">{html.escape(_count(self.table))}</p>']
        if self.plot:
            picture = base64.b64encode(self.plot.encode()).decode()
            alt = html.escape(" ".join(self.messages) or "what the statement found, as a picture")
            parts.append(f'<img alt="{alt}" src="data:image/svg+xml;base64,{picture}">')
        return "".join(parts)

    def __repr__(self) -> str:
        return self.text()

    def text(self, rows: int | None = ROWS_SHOWN) -> str:
        """Return the messages and the first rows as text; `rows=None` means all rows."""
        parts = [*self.messages]
        if self.table is not None:
            shown = self.table.num_rows if rows is None else rows
            parts += [text_table(self.table, shown), _count(self.table, shown)]
        return "\n".join(parts)


def text_table(table: pa.Table, rows: int = ROWS_SHOWN, width: int = 120) -> str:
    """Return the first rows as text."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, name in enumerate(_names(table)):
        grid.add_column(Text(name), justify="right" if _is_number(table, place) else "left", overflow="fold")
    for row in _cells(table, rows):
        grid.add_row(*(Text("NULL" if cell is None else cell) for cell in row))
    console = Console(file=io.StringIO(), width=width, force_terminal=False, force_jupyter=False)
    with console.capture() as capture:
        console.print(grid)
    # The box has blank lines around the table.
    return "\n".join(line.rstrip() for line in capture.get().splitlines() if line.strip())


def _html_table(table: pa.Table) -> str:
    sides = ["right" if _is_number(table, place) else "left" for place in range(table.num_columns)]
    names = _names(table)
    # After the last column shown there may be one that says there are more.
    sides += ["left"] * (len(names) - len(sides))
    head = "".join(
        f'<th style="{_CELL.format(side)}">{html.escape(name)}</th>' for name, side in zip(names, sides, strict=False)
    )
    body = "".join(
        "<tr>" + "".join(_html_cell(cell, side) for cell, side in zip(row, sides, strict=False)) + "</tr>"
        for row in _cells(table, ROWS_SHOWN)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _html_cell(cell: str | None, side: str) -> str:
    inside = f'<span style="{_MUTED}">NULL</span>' if cell is None else html.escape(cell)
    return f'<td style="{_CELL.format(side)}">{inside}</td>'


def _names(table: pa.Table) -> list[str]:
    names = list(table.column_names[:COLUMNS_SHOWN])
    return [*names, "…"] if table.num_columns > COLUMNS_SHOWN else names


def _cells(table: pa.Table, rows: int) -> list[list[str | None]]:
    """The first rows as text; None is NULL."""
    head = table.slice(0, rows)
    columns: list[Sequence[Any]] = [
        python_values(head.column(place)) for place in range(min(head.num_columns, COLUMNS_SHOWN))
    ]
    if table.num_columns > COLUMNS_SHOWN:
        columns.append(["…"] * head.num_rows)
    return [[_cell(value) for value in row] for row in zip(*columns, strict=True)]


def python_values(column: pa.ChunkedArray) -> list[Any]:
    """Return a column's values as Python's own; moments that Python lacks, such as the year 12000, are texts."""
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except (OverflowError, ValueError):
        return [_python_value(scalar) for scalar in column]


def _python_value(scalar: pa.Scalar) -> Any:
    import pyarrow as pa

    try:
        return scalar.as_py()
    except (OverflowError, ValueError):
        pass
    if isinstance(scalar, pa.MapScalar):
        return [tuple(map(_python_value, item.values())) for item in scalar.values]
    if isinstance(scalar, pa.StructScalar):
        return {name: _python_value(scalar[name]) for name in scalar}
    if isinstance(scalar, (pa.ListScalar, pa.LargeListScalar, pa.FixedSizeListScalar)):
        return list(map(_python_value, scalar.values))
    return scalar.cast(pa.string()).as_py()


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, bytes):
        text = value.hex()
    elif isinstance(value, datetime.datetime):
        text = value.isoformat(" ")
    else:
        text = str(value)
    return text if len(text) <= _CHARACTERS_SHOWN else f"{text[: _CHARACTERS_SHOWN - 1]}…"


def _is_number(table: pa.Table, place: int) -> bool:
    import pyarrow.types as types

    if place >= min(table.num_columns, COLUMNS_SHOWN):
        return False
    kind = table.schema.field(place).type
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind))


def _count(table: pa.Table, shown: int = ROWS_SHOWN) -> str:
    rows = f"{table.num_rows:,} row{'s' if table.num_rows != 1 else ''}"
    part = f", of which the first {shown} are shown" if table.num_rows > shown else ""
    columns = f"; {COLUMNS_SHOWN} of {table.num_columns} columns are shown" if table.num_columns > COLUMNS_SHOWN else ""
    return f"{rows}{part}{columns}"

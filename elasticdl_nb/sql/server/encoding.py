"""Turns results into the messages that SQLFlow's clients understand, as bytes.

What clients make of the order of messages decides what is sent when: see `Style`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from elasticdl_nb.sql.protocol import sqlflow_pb2 as pb
from elasticdl_nb.sql.result import Result, text_table
from elasticdl_nb.sql.server.rows import encode_rows

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class Style:
    """How clients read the responses of a program.

    A client that listens takes a picture for HTML only where a run of messages begins, and loses what follows a result
    without rows. A client that fetches (`fetched`) has another mark for HTML, knows that rows are complete only by an
    end of execution, and never shows a result without rows.
    """

    fetched: bool = False
    several: bool = False
    """Whether the program has several statements."""

    @property
    def ends(self) -> bool:
        """Whether each statement is followed by an end of execution."""
        return self.fetched or self.several


def message(text: str) -> bytes:
    """Return a line of text as a response."""
    return pb.Response(message=pb.Message(message=text)).SerializeToString()


def end_of(sql: str, seconds: float) -> bytes:
    """Return the message that says that a statement is done."""
    return pb.Response(eoe=pb.EndOfExecution(sql=sql, spent_time_seconds=int(seconds))).SerializeToString()


def responses(result: Result, style: Style, *, spoken: bool) -> Iterator[list[bytes]]:
    """Yield a statement's responses, some at a time; `spoken` says whether it has already sent messages.

    After a first message, clients expect only messages, and after a head only rows. So a statement sends one or the
    other.
    """
    table = result.table
    if table is not None and not spoken and not result.plot and not result.messages and result.job is None:
        if table.num_rows or not style.ends:
            yield from _rows(table)
        else:
            yield [message(f"no rows; the columns are {', '.join(table.column_names)}")]
        return
    said = [message(text) for text in result.messages]
    if table is not None:
        said.append(message(text_table(table)))
    if result.plot:
        if not style.fetched and (said or spoken):
            said.append(end_of(result.statement.text, 0))
        said.append(message(_picture(result.plot, style)))
    if not said and not spoken:
        said.append(message("Done."))
    yield said


def _picture(plot: str, style: Style) -> str:
    picture = base64.b64encode(plot.encode()).decode()
    html = f'<div align="center"><img src="data:image/svg+xml;base64,{picture}"></div>'
    return f"data:text/html,{html}" if style.fetched else html


def _rows(table: pa.Table) -> Iterator[list[bytes]]:
    yield [pb.Response(head=pb.Head(column_names=table.column_names)).SerializeToString()]
    for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield encode_rows(batch)

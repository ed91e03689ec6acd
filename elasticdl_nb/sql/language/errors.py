"""`SqlError`: a mistake in a statement, shown with its place."""

from __future__ import annotations

import re

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.sql.language.statements import Position

_WIDTH = 100


class SqlError(ElasticDLError):
    """A statement is wrong or cannot be carried out; it has changed nothing.

    The message says what is wrong. If the error has a place, line and column follow, then the line and a caret:

        attribute 'hiden_units': no such attribute of regressor.DNN. Did you mean 'hidden_units'?
        line 2, column 6:
          WITH hiden_units=[10, 100]
               ^
    """

    def __init__(
        self, problem: str, position: Position | None = None, source: str = "", near: tuple[str, int] = ("", 0)
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.position = position
        self.source = source
        self.near = near
        """What an engine says about the place: a piece of the query, and how far into it the mistake is."""

    def at(self, position: Position | None) -> SqlError:
        """Give the error this place, unless it already has one, and return it."""
        self.position = self.position or position
        return self

    def within(self, source: str) -> SqlError:
        """Make the error show its place in `source`, the text that was parsed, and return it."""
        if self.source:
            return self
        self.source = source
        excerpt, into = self.near
        pattern = re.escape(excerpt)
        if excerpt.isidentifier():
            pattern = rf"\b{pattern}\b"
        found = re.compile(pattern).search(source, self.position.offset if self.position else 0)
        if excerpt and found:
            self.position = Position.of(source, found.start() + into)
        return self

    def __str__(self) -> str:
        if self.position is None:
            return self.problem
        return f"{self.problem}\nline {self.position.line}, column {self.position.column}{self._excerpt()}"

    def _excerpt(self) -> str:
        """The line with the mistake, shortened around it, and a caret below."""
        assert self.position is not None
        lines = self.source.split("\n")
        if not self.source or self.position.line > len(lines):
            return ""
        line = lines[self.position.line - 1].rstrip()
        at = self.position.column - 1
        start = max(0, at - _WIDTH // 2) if len(line) > _WIDTH else 0
        shown = line[start : start + _WIDTH]
        before = "".join("\t" if character == "\t" else " " * _cells(character) for character in shown[: at - start])
        return f":\n  {'…' if start else ''}{shown}\n  {' ' if start else ''}{before}^"

    def __reduce__(self) -> tuple[type[SqlError], tuple[str, Position | None, str, tuple[str, int]]]:
        return type(self), (self.problem, self.position, self.source, self.near)


def _cells(character: str) -> int:
    """How wide a terminal shows the character."""
    from rich.cells import cell_len

    return cell_len(character)

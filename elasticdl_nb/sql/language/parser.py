"""From the text of a cell or file to its statements.

A statement is plain SQL unless a query in it is followed by a clause (see `clauses`). The text is scanned with the
dialect's quotes and comments. Any verb outside brackets may begin a clause. It does if a query comes before it and the
clause can be read up to the end of the statement. So a table or alias called `train`, and `TRAIN` in strings, comments
and subqueries, remain SQL. sqlglot decides whether something is a query.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.sql.language.clauses import VERBS, Clause, ClauseError, read_clause, read_name
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import Dialect, Token, dialect_of
from elasticdl_nb.sql.language.statements import (
    DropModel,
    Evaluate,
    Explain,
    Name,
    Position,
    Predict,
    Query,
    ShowModels,
    ShowTrain,
    Statement,
    Train,
)

_QUERIES = ("SELECT", "WITH", "FROM", "VALUES", "TABLE", "PIVOT", "UNPIVOT", "(")
# Their bodies contain semicolons: CREATE TRIGGER … BEGIN …; …; END.
_WITH_BODIES = frozenset({"TRIGGER", "FUNCTION", "PROCEDURE", "EVENT"})
_WORDS_BEFORE_BODY = 8
_NOT_END_OF_BODY = frozenset({"IF", "LOOP", "WHILE", "REPEAT"})


def parse(text: str, dialect: str = "duckdb", parameters: Mapping[str, Any] | None = None) -> list[Statement]:
    """Return the statements in `text`, which is SQL of `dialect` (by the name that sqlglot or SQLAlchemy gives it).

    A `:name` that is a value in a clause is replaced by that parameter; those in queries are left for the engine to
    bind. Raises SqlError, with its place, for a clause that cannot be read, and for a quote or comment that is not
    closed. Plain SQL is not checked further: the engine does that.
    """
    try:
        return list(_statements(text, dialect_of(dialect), parameters or {}))
    except SqlError as error:
        raise SqlError(error.problem, error.position, text) from None


def one_query(text: str, dialect: str) -> str:
    """Return the only statement in `text`, without its semicolon; raise SqlError if that is not one query."""
    statements = parse(text, dialect)
    if len(statements) != 1 or not isinstance(statements[0], Query) or not _is_query(text, dialect_of(dialect)):
        raise SqlError("expected a query, and nothing else")
    return statements[0].text


def limits_rows(query: str, dialect: Dialect) -> str:
    """Return the word by which a query returns only some rows of what it selects, such as LIMIT; empty if none does."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        read = sqlglot.parse_one(query, dialect=_known_to_sqlglot(dialect))
    except (SqlglotError, RecursionError):
        return ""
    words = {"limit": "LIMIT", "offset": "OFFSET", "fetch": "FETCH", "sample": "a sample"}
    return next((word for part, word in words.items() if read.args.get(part) is not None), "")


def _statements(text: str, dialect: Dialect, parameters: Mapping[str, Any]) -> Iterator[Statement]:
    place: int | None = 0
    while place is not None:
        statement, place = _Reading(text, dialect, parameters).read(place)
        if statement is not None:
            yield statement


@dataclass
class _Reading:
    """A statement that is being read."""

    text: str
    dialect: Dialect
    parameters: Mapping[str, Any]
    first: Token | None = None
    last_end: int = 0
    depth: int = 0
    words: list[str] = field(default_factory=list)
    bodies: int = 0
    exports: bool = False
    """Whether the rows go to a file or to variables: `SELECT … INTO OUTFILE`, which sqlglot cannot read."""
    doubts: list[ClauseError] = field(default_factory=list)

    def read(self, start: int) -> tuple[Statement | None, int | None]:
        """Return the statement that begins at `start`, if there is one, and where the next one begins."""
        special = self._special(start)
        if special is not None:
            return special, self._after(special)
        previous: Token | None = None
        for token in self.dialect.tokens(self.text, start):
            if token.kind == "end" and not self.bodies:
                return self._plain(), token.end
            if self._may_begin_clause(token, previous):
                statement = self._clause_at(token)
                if statement is not None:
                    return statement, self._after(statement)
            self._note(token, previous)
            previous = token
        return self._plain(), None

    def _after(self, statement: Statement) -> int | None:
        end = statement.position.offset + len(statement.text)
        token = next(self.dialect.tokens(self.text, end), None)
        return token.end if token else None

    def _note(self, token: Token, previous: Token | None) -> None:
        self.first = self.first or token
        self.last_end = token.end
        if previous is not None and previous.upper == "INTO" and not self.depth:
            self.exports |= token.upper in ("OUTFILE", "DUMPFILE") or token.text == "@"
        if token.kind == "open":
            self.depth += 1
        elif token.kind == "close":
            self.depth -= 1
        elif token.upper:
            self._note_word(token.upper, previous.upper if previous else "")

    def _note_word(self, word: str, before: str) -> None:
        if self.depth:
            return
        if len(self.words) < _WORDS_BEFORE_BODY:
            self.words.append(word)
        is_block = self.words[:3] == ["BEGIN", "NOT", "ATOMIC"]  # of MariaDB
        if is_block and len(self.words) == 3:
            self.bodies = 1
        if not is_block and (self.words[0] != "CREATE" or not _WITH_BODIES.intersection(self.words)):
            return
        if word == "BEGIN" or (word == "CASE" and self.bodies and before != "END"):
            self.bodies += 1
        elif word == "END":
            self.bodies = max(0, self.bodies - 1)
        elif before == "END" and word in _NOT_END_OF_BODY:
            self.bodies += 1

    # ------------------------------------------------------------ clauses

    def _may_begin_clause(self, token: Token, previous: Token | None) -> bool:
        if self.depth or not token.upper or (previous is not None and previous.text == "."):
            return False
        if token.upper == "TO":
            following = next(self.dialect.tokens(self.text, token.end), None)
            return following is not None and bool(following.upper)
        return token.upper in VERBS and (previous is None or previous.upper != "TO")

    def _clause_at(self, token: Token) -> Statement | None:
        """Return the statement whose clause begins at `token`, or None."""
        try:
            clause = read_clause(self.text, token.start, self.dialect, self.parameters)
        except ClauseError as error:
            if error.meant and self._begins_like_query() and self._is_query(self.last_end):
                self.doubts.append(error)
            return None
        # Nothing else looks like such a clause, so this must be a query that sqlglot cannot read.
        certain = token.upper == "TO" or clause.clauses > 0
        if not self._begins_like_query():
            if certain:
                self._refuse(token, clause.verb)
            return None
        if token.upper != "TO" and self._is_query(clause.end):
            return None
        if not certain and not self._is_query(self.last_end):
            return None
        assert self.first is not None
        return _statement(self.text, self.first.start, self.last_end, clause)

    def _begins_like_query(self) -> bool:
        return self.first is not None and (self.first.upper or self.first.text) in _QUERIES

    def _is_query(self, end: int) -> bool:
        """Whether the statement up to that point is a query."""
        assert self.first is not None
        return _is_query(self.text[self.first.start : end], self.dialect)

    def _refuse(self, token: Token, verb: str) -> None:
        if self.first is None:
            raise SqlError(f"{verb} requires a query before it: SELECT … {verb} …", Position.of(self.text, token.start))
        problem = f"{verb} must follow a query, but this statement begins with {self.first.text}"
        raise SqlError(problem, Position.of(self.text, self.first.start))

    # ------------------------------------------------------------ other statements

    def _plain(self) -> Statement | None:
        if self.first is None:
            return None
        text = self.text[self.first.start : self.last_end]
        if self.doubts and not self.exports and not self._is_query(self.last_end):
            raise max(self.doubts, key=_progress)
        return Query(text, Position.of(self.text, self.first.start))

    def _special(self, start: int) -> Statement | None:
        """Return the statement about models that begins at `start`, or None."""
        tokens = list(itertools.islice(self.dialect.tokens(self.text, start), 4))
        words = [token.upper for token in tokens]
        if words[:2] == ["SHOW", "MODELS"]:
            if len(tokens) > 2 and tokens[2].kind != "end":
                raise SqlError("nothing may follow SHOW MODELS", Position.of(self.text, tokens[2].start))
            return ShowModels(*self._placed(tokens[0].start, tokens[1].end))
        # In some engines, `SHOW train` describes a table.
        if words[:2] == ["SHOW", "TRAIN"] and len(tokens) > 2 and tokens[2].kind != "end":
            name, end = read_name(self.text, tokens[1].end, self.dialect, "the name of a trained model")
            return ShowTrain(*self._placed(tokens[0].start, end), name)
        if words[:2] == ["DROP", "MODEL"]:
            if_exists = words[2:] == ["IF", "EXISTS"]
            name, end = read_name(
                self.text, tokens[3 if if_exists else 1].end, self.dialect, "the name of a trained model"
            )
            return DropModel(*self._placed(tokens[0].start, end), name, if_exists)
        return None

    def _placed(self, start: int, end: int) -> tuple[str, Position]:
        return self.text[start:end], Position.of(self.text, start)


def _progress(error: ClauseError) -> int:
    assert error.position is not None
    return error.position.offset


def _is_query(text: str, dialect: Dialect) -> bool:
    """Whether sqlglot can read the text as a query."""
    import sqlglot
    from sqlglot import expressions
    from sqlglot.errors import SqlglotError

    try:
        parsed = sqlglot.parse_one(text, dialect=_known_to_sqlglot(dialect))
    except (SqlglotError, RecursionError):
        return False
    return isinstance(parsed, (expressions.Query, expressions.Values, expressions.Pivot))


def _known_to_sqlglot(dialect: Dialect) -> str | None:
    from sqlglot import Dialects

    return dialect.name if dialect.name in {known.value for known in Dialects} else None


def _statement(text: str, start: int, select_end: int, clause: Clause) -> Statement:
    place = Position.of(text, start)
    whole, select = text[start : clause.end], text[start:select_end]
    attributes, names, subject = tuple(clause.attributes), clause.names, clause.subject
    label, using, into = names.get("LABEL"), names.get("USING"), names.get("INTO")
    if clause.verb == "TRAIN":
        return Train(whole, place, select, place, subject, attributes, tuple(clause.columns), label, using, _sure(into))
    if clause.verb == "PREDICT":
        return Predict(whole, place, select, place, subject, attributes, _sure(using))
    if clause.verb == "EVALUATE":
        return Evaluate(whole, place, select, place, subject, attributes, label, into)
    return Explain(whole, place, select, place, subject, attributes, using, into)


def _sure(name: Name | None) -> Name:
    assert name is not None  # the clause has been checked for what it needs
    return name

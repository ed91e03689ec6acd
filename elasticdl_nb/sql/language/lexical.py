"""Splits SQL text into tokens. It knows just enough of each dialect's quotes and comments to tell what is code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position

Kind = Literal["word", "string", "quoted", "number", "open", "close", "end", "other"]

_STRING = r"'(?:''|[^'])*'"
_ESCAPED_STRING = r"'(?:\\.|''|[^'\\])*'"
_NAME = r'"(?:""|[^"])*"'
_ESCAPED_NAME = r'"(?:\\.|""|[^"\\])*"'
_DOLLAR_QUOTED = r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"
# In BigQuery, a backslash keeps the quote after it inside, even in a raw string. In Spark's raw strings it is nothing.
_TRIPLE_QUOTED = [rf"(?:[rR][bB]?|[bB][rR]?)?{quote * 3}(?:\\.|(?!{quote * 3}).)*{quote * 3}" for quote in ("'", '"')]
_RAW = [rf"[rR]{quote}[^{quote}]*{quote}" for quote in ("'", '"')]
_Q_QUOTED = r"[nN]?[qQ]'(?:\[.*?\]|\{.*?\}|<.*?>|\(.*?\)|(?P<mark>[^\s\[{<(]).*?(?P=mark))'"
_BEFORE_PARAMETER = "([,=<>+-*/%|&^~!"


@dataclass(frozen=True)
class Token:
    """A piece of code, neither blank nor comment: `text[start:end]`. The kind `end` is a semicolon."""

    kind: Kind
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The word in upper case; empty for anything but a bare word."""
        return self.text.upper() if self.kind == "word" else ""


@dataclass(frozen=True)
class Dialect:
    """How a dialect writes strings, names and comments."""

    name: str
    """The name that sqlglot gives it."""
    backslashes: bool = False
    """A backslash escapes in every string."""
    double_strings: bool = False
    """Double quotes make a string, not a name."""
    dollar_quotes: bool = False
    """`$tag$ … $tag$` and `E'…\\n'` are strings."""
    triple_quotes: bool = False
    """`\'\'\' … \'\'\'` is a string that may contain quotes."""
    raw_strings: bool = False
    """In `r'…'`, a backslash is an ordinary character."""
    q_quotes: bool = False
    """`q'[ … ]'` is a string that may contain quotes."""
    brackets: bool = False
    """`[a b]` is a name."""
    comments: str = "--"
    """What begins a comment up to the end of the line: regular expressions."""
    nested_comments: bool = True
    """`/*` inside a comment needs its own `*/`."""

    def __post_init__(self) -> None:
        strings = [_ESCAPED_STRING] if self.backslashes else [_STRING]
        names = ["`(?:``|[^`])*`"]
        (strings if self.double_strings else names).append(_ESCAPED_NAME if self.backslashes else _NAME)
        if self.dollar_quotes:
            strings += [f"[eE]{_ESCAPED_STRING}", _DOLLAR_QUOTED]
        if self.triple_quotes:
            strings = [*_TRIPLE_QUOTED, *strings]
        if self.raw_strings:
            strings += _RAW
        if self.q_quotes:
            strings.append(_Q_QUOTED)
        if self.brackets:
            names.append(r"\[[^\]\n]*\]")
        pattern = rf"""
              (?P<space>\s+|(?:{self.comments})[^\n]*)
            | (?P<comment>/\*)
            | (?P<string>{"|".join(strings)})
            | (?P<quoted>{"|".join(names)})
            | (?P<unclosed>['"`])
            | (?P<word>[^\W\d][\w$]*)
            | (?P<number>(?:\d[\d_]*(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)
            | (?P<open>[(\[{{])
            | (?P<close>[)\]}}])
            | (?P<end>;)
            | (?P<other>.)
        """
        object.__setattr__(self, "_pattern", re.compile(pattern, re.VERBOSE | re.DOTALL))

    def tokens(self, text: str, start: int = 0) -> Iterator[Token]:
        """Yield the tokens of `text` from `start`; raise SqlError for a quote or comment that is not closed."""
        pattern: re.Pattern[str] = self._pattern  # type: ignore[attr-defined]
        while match := pattern.match(text, start):
            # These are the last groups of strings with marks of their own.
            kind = match.lastgroup if match.lastgroup not in ("tag", "mark") else "string"
            if kind == "comment":
                start = self._after_comment(text, start)
                continue
            if kind == "unclosed":
                raise SqlError(f"this quote ({match[0]}) is not closed", Position.of(text, start))
            start = match.end()
            if kind != "space":
                yield Token(kind, match[0], match.start(), start)  # type: ignore[arg-type]

    def _after_comment(self, text: str, start: int) -> int:
        depth = 0
        for mark in re.compile(r"/\*|\*/").finditer(text, start):
            if mark[0] == "*/":
                depth -= 1
            elif depth == 0 or self.nested_comments:
                depth += 1
            if depth == 0:
                return mark.end()
        raise SqlError("this comment is not closed", Position.of(text, start))


_ALIASES = {
    "postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql", "sqlserver": "tsql", "awsathena": "athena",
    "redshift+psycopg2": "redshift", "memsql": "singlestore",
}  # fmt: skip
_MYSQL_COMMENTS = r"\#|--(?=\s|\Z)"
_DIALECTS = {
    dialect.name: dialect
    for dialect in (
        *(Dialect(name, dollar_quotes=True)
          for name in ("duckdb", "postgres", "redshift", "materialize", "risingwave", "cockroachdb")),
        *(Dialect(name, backslashes=True, double_strings=True, comments=_MYSQL_COMMENTS, nested_comments=False)
          for name in ("mysql", "doris", "starrocks", "singlestore")),
        Dialect("sqlite", brackets=True, nested_comments=False),
        *(Dialect(name, brackets=True) for name in ("tsql", "fabric")),
        Dialect("bigquery", backslashes=True, double_strings=True, triple_quotes=True, comments=r"\#|--",
                nested_comments=False),
        Dialect("hive", backslashes=True, double_strings=True, nested_comments=False),
        *(Dialect(name, backslashes=True, double_strings=True, raw_strings=True)
          for name in ("spark", "spark2", "databricks")),
        Dialect("snowflake", backslashes=True, dollar_quotes=True, comments="--|//", nested_comments=False),
        Dialect("clickhouse", backslashes=True, dollar_quotes=True, comments=r"--|\#(?=[\ !])"),
        Dialect("oracle", q_quotes=True, nested_comments=False),
        *(Dialect(name, nested_comments=False) for name in ("trino", "presto", "athena")),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Placeholder:
    """A `:name` in SQL, at `text[start:end]`, that stands for a parameter."""

    name: str
    start: int
    end: int


def placeholders(text: str, dialect: Dialect) -> list[Placeholder]:
    """Return every `:name` in the text that follows a blank, an operator or an opening bracket.

    So there is none in `a::int`, `{'key':value}`, `items[1:last]` or `items[:last]`.
    """
    found = []
    colon: Token | None = None
    previous: Token | None = None
    is_slice = False
    for token in dialect.tokens(text):
        if token.kind == "word" and colon is not None and colon.end == token.start and not is_slice:
            found.append(Placeholder(token.text, colon.start, token.end))
        if token.text == "[":
            is_slice = previous is not None and previous.end == token.start and _can_be_sliced(previous)
        elif token.text != ":":
            is_slice = False
        before = text[token.start - 1 : token.start]
        colon = token if token.text == ":" and (not before or before.isspace() or before in _BEFORE_PARAMETER) else None
        previous = token
    return found


def _can_be_sliced(token: Token) -> bool:
    return token.kind in ("quoted", "close", "string") or token.upper not in ("", "ARRAY", "SELECT", "IN")


def dialect_of(name: str) -> Dialect:
    """Return the dialect that sqlglot or SQLAlchemy calls `name`; an unknown dialect counts as plain SQL."""
    name = _ALIASES.get(name.lower(), name.lower())
    return _DIALECTS.get(name) or Dialect(name)

"""Splits SQL text into tokens. It knows just enough of each dialect's quotes and comments to tell what is code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Position

Kind = Literal["word", "string", "quoted", "number", "open", "close", "end", "other"]

_ALIASES = {"postgresql": "postgres", "mariadb": "mysql", "mssql": "tsql", "sqlserver": "tsql"}
_STRING = r"'(?:''|[^'])*'"
_ESCAPED_STRING = r"'(?:\\.|''|[^'\\])*'"
_NAME = r'"(?:""|[^"])*"'
_BEFORE_PARAMETER = "([,=<>+-*/%|&^~!"
_ESCAPED_NAME = r'"(?:\\.|""|[^"\\])*"'


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
    """A backslash escapes in every string, and double quotes make a string."""
    dollar_quotes: bool = False
    """`$tag$ … $tag$` and `E'…\\n'` are strings."""
    brackets: bool = False
    """`[a b]` is a name."""
    hash_comments: bool = False
    """`#` begins a comment, and `--` only before a blank."""
    nested_comments: bool = True
    """`/*` inside a comment needs its own `*/`."""

    def __post_init__(self) -> None:
        comment = r"\#[^\n]*|--(?=\s|\Z)[^\n]*" if self.hash_comments else r"--[^\n]*"
        strings = [_ESCAPED_STRING, _ESCAPED_NAME] if self.backslashes else [_STRING]
        names = ["`(?:``|[^`])*`"] if self.backslashes else [_NAME, "`(?:``|[^`])*`"]
        if self.dollar_quotes:
            strings += [f"[eE]{_ESCAPED_STRING}", r"\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$"]
        if self.brackets:
            names.append(r"\[[^\]\n]*\]")
        pattern = rf"""
              (?P<space>\s+|{comment})
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
            # `tag` is the last group of a dollar quote.
            kind = match.lastgroup if match.lastgroup != "tag" else "string"
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


_DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("duckdb", dollar_quotes=True),
        Dialect("postgres", dollar_quotes=True),
        Dialect("mysql", backslashes=True, hash_comments=True, nested_comments=False),
        Dialect("sqlite", brackets=True, nested_comments=False),
        Dialect("tsql", brackets=True),
        Dialect("bigquery", backslashes=True, hash_comments=True, nested_comments=False),
        *(Dialect(name, backslashes=True, nested_comments=False) for name in ("hive", "spark", "databricks")),
    )
}


@dataclass(frozen=True)
class Placeholder:
    """A `:name` in SQL, at `text[start:end]`, that stands for a parameter."""

    name: str
    start: int
    end: int


def placeholders(text: str, dialect: Dialect) -> list[Placeholder]:
    """Return every `:name` in the text that follows a blank, an operator or an opening bracket.

    So there is none in `a::int`, `{'key':value}` or `items[1:last]`.
    """
    found = []
    colon: Token | None = None
    for token in dialect.tokens(text):
        if token.kind == "word" and colon is not None and colon.end == token.start:
            found.append(Placeholder(token.text, colon.start, token.end))
        before = text[token.start - 1 : token.start]
        colon = token if token.text == ":" and (not before or before.isspace() or before in _BEFORE_PARAMETER) else None
    return found


def dialect_of(name: str) -> Dialect:
    """Return the dialect that sqlglot or SQLAlchemy calls `name`; an unknown dialect counts as plain SQL."""
    name = _ALIASES.get(name.lower(), name.lower())
    return _DIALECTS.get(name) or Dialect(name)

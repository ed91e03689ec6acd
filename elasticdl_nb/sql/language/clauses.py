"""The clause that makes a query train, predict, evaluate or explain: `TRAIN model WITH … INTO name`."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.lexical import Dialect, Token
from elasticdl_nb.sql.language.statements import Attribute, Columns, Function, Name, Position

VERBS = ("TRAIN", "PREDICT", "EVALUATE", "EXPLAIN", "ANALYZE")
_ELSEWHERE = ("RUN", "MAXIMIZE", "MINIMIZE")  # other verbs of SQLFlow
KEYWORDS = ("WITH", "COLUMN", "LABEL", "USING", "INTO")
FUNCTIONS = ("DENSE", "NUMERIC", "SPARSE", "BUCKET", "CROSS", "CATEGORY_ID", "SEQ_CATEGORY_ID", "CATEGORY_HASH",
             "WEIGHTED_CATEGORY", "EMBEDDING", "INDICATOR")  # fmt: skip
_TAKES = {
    "TRAIN": KEYWORDS,
    "PREDICT": ("WITH", "USING"),
    "EVALUATE": ("WITH", "LABEL", "INTO"),
    "EXPLAIN": ("WITH", "USING", "INTO"),
}
_NEEDS = {
    "TRAIN": ("INTO", "a name for the trained model"),
    "PREDICT": ("USING", "the name of the trained model"),
}
# These begin a clause or are part of one, in SQL as well. They are names only in quotes.
_RESERVED = frozenset({"WITH", "USING", "INTO", "FOR", "TO"})
_WORDS = {"TRUE": True, "FALSE": False, "NULL": None, "NONE": None}
# A model's name may be that of an image or file: registry/image:tag/Model, my-model.
_MODEL = re.compile(r"[^\W\d]\w*(?:(?:[./:]|-(?!-))\w+)*")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
_DEEPEST = 20
_Item = TypeVar("_Item")


class ClauseError(SqlError):
    """The text is not a valid clause; `meant` says whether it was probably meant as one, not as part of a query."""

    meant = False


@dataclass
class Clause:
    """A clause as read: the verb, what follows it, and where the last token ends."""

    verb: str
    subject: Name
    attributes: list[Attribute] = field(default_factory=list)
    columns: list[Columns] = field(default_factory=list)
    names: dict[str, Name] = field(default_factory=dict)
    """The names after LABEL, USING and INTO."""
    clauses: int = 0
    end: int = 0


def read_clause(text: str, start: int, dialect: Dialect, parameters: Mapping[str, Any]) -> Clause:
    """Return the clause whose verb (with or without TO) is at `start`. It ends at a `;` or at the end of the text.

    `:name` among its values stands for a parameter. Raises ClauseError.
    """
    return _Reader(text, start, dialect, parameters).clause()


def read_name(text: str, start: int, dialect: Dialect, what: str) -> tuple[Name, int]:
    """Return the model's name at `start`, and where it ends; raise ClauseError if anything else follows."""
    reader = _Reader(text, start, dialect, {})
    name = reader.model(what)
    if not reader.at_end():
        raise reader.unexpected("';' or the end")
    return name, reader.last_end


@functools.cache
def _in_clauses(dialect: Dialect) -> Dialect:
    """In clauses, whatever the dialect, text in double quotes is one token and brackets enclose lists."""
    return Dialect(
        "clause", backslashes=True, double_strings=True, comments=dialect.comments,
        nested_comments=dialect.nested_comments,
    )  # fmt: skip


class _Reader:
    def __init__(self, text: str, start: int, dialect: Dialect, parameters: Mapping[str, Any]) -> None:
        self.text = text
        self.parameters = parameters
        self.dialect = _in_clauses(dialect)
        self.clauses = 0
        self.sure = False
        self.last_end = start
        self.token = self._token_after(start)

    # ------------------------------------------------------------ tokens

    def _token_after(self, place: int) -> Token | None:
        try:
            return next(self.dialect.tokens(self.text, place), None)
        except SqlError as error:
            found = ClauseError(error.problem, error.position)
            found.meant = self.clauses > 0
            raise found from None

    def _advance(self) -> Token:
        token = self.token
        assert token is not None
        self._go_on(token.end)
        return token

    def _go_on(self, place: int) -> None:
        self.last_end = place
        self.token = self._token_after(place)

    def at_end(self) -> bool:
        return self.token is None or self.token.kind == "end"

    def is_next(self, mark: str) -> bool:
        return self.token is not None and (self.token.upper or self.token.text) == mark

    def take(self, mark: str) -> bool:
        if not self.is_next(mark):
            return False
        self._advance()
        return True

    def need(self, mark: str, after: str) -> None:
        if not self.take(mark):
            raise self.unexpected(f"{mark!r} after {after}")

    def unexpected(self, wanted: str, known: Iterable[str] = ()) -> ClauseError:
        """Return the error that something else was expected here; `known` are words that may have been misspelled."""
        found = f"found {self.token.text!r}" if self.token and not self.at_end() else "but the statement ends here"
        near = did_you_mean(self.token.upper if self.token else "", known)
        error = self.error(f"expected {wanted}, {found}" + (f".{near}" if near else ""))
        error.meant |= bool(near) or self.at_end()
        return error

    def error(self, problem: str, place: int | None = None) -> ClauseError:
        if place is None:
            place = self.last_end if self.token is None or self.at_end() else self.token.start
        error = ClauseError(problem, Position.of(self.text, place))
        error.meant = self.clauses > 0 or self.sure or (self.token is not None and self.token.upper in KEYWORDS)
        return error

    # ------------------------------------------------------------ the clause

    def clause(self) -> Clause:
        after_to = self.take("TO")
        token = self.token
        if after_to and token is not None and token.upper in _ELSEWHERE:
            self.sure = True
            raise self.error(f"TO {token.upper} is not supported; TRAIN, PREDICT, EVALUATE and EXPLAIN are")
        if token is None or token.upper not in VERBS:
            raise self.unexpected("TRAIN, PREDICT, EVALUATE or EXPLAIN", VERBS)
        self.sure = after_to
        self._advance()
        verb = "EXPLAIN" if token.upper == "ANALYZE" else token.upper
        if verb == "PREDICT":
            subject = self._dotted("a table and column to predict into, as in PREDICT table.column")
            if len(subject.parts) < 2:
                raise self.error("expected a column after the table: PREDICT table.column", subject.position.offset)
        else:
            subject = self.model(f"a model after {token.upper}")
        clause = Clause(verb, subject)
        while not self.at_end():
            self._part(clause, token.upper)
        if verb in _NEEDS and _NEEDS[verb][0] not in clause.names:
            keyword, what = _NEEDS[verb]
            self.sure = True
            raise self.error(f"{verb} requires {keyword} with {what}")
        clause.clauses, clause.end = self.clauses, self.last_end
        return clause

    def _part(self, clause: Clause, verb: str) -> None:
        takes = _TAKES[clause.verb]
        token = self.token
        assert token is not None
        if token.upper not in KEYWORDS:
            raise self.unexpected(f"{', '.join(takes[:-1])}, {takes[-1]} or ';'", takes)
        keyword = token.upper
        if keyword not in takes:
            raise self.error(f"{verb} takes no {keyword}, only {', '.join(takes[:-1])} and {takes[-1]}")
        if keyword in clause.names:
            raise self.error(f"{keyword} is given twice")
        self.clauses += 1
        self._advance()
        if keyword == "WITH":
            self._attributes(clause.attributes)
        elif keyword == "COLUMN":
            items = self._listed(self._item)
            target = self._dotted("the name of the features after FOR") if self.take("FOR") else None
            clause.columns.append(Columns(tuple(items), target))
        elif keyword == "LABEL":
            clause.names[keyword] = self._dotted("a column after LABEL")
        elif keyword == "INTO" and clause.verb != "TRAIN":
            clause.names[keyword] = self._dotted("a table after INTO")
        else:
            clause.names[keyword] = self.model(f"a name after {keyword}")

    def _listed(self, read: Callable[[], _Item]) -> list[_Item]:
        items = [read()]
        while self.take(","):
            items.append(read())
        return items

    def _attributes(self, attributes: list[Attribute]) -> None:
        while True:
            key = self._dotted("an attribute's name")
            if any(other.key == key.text for other in attributes):
                raise self.error(f"attribute {key.text!r} is given twice", key.position.offset)
            self.need("=", f"the attribute's name {key.text!r}")
            place = self.token.start if self.token else len(self.text)
            attributes.append(Attribute(key.text, self._value(), key.position, Position.of(self.text, place)))
            if not self.take(","):
                return

    # ------------------------------------------------------------ names

    def model(self, what: str) -> Name:
        """Read a name that may also be that of an image or file."""
        token = self.token
        if token is None or token.kind != "word" or token.upper in _RESERVED:
            return self._dotted(what)
        match = _MODEL.match(self.text, token.start)
        if match is None or not re.search("[-/:]", match[0]):
            return self._dotted(what)
        self._go_on(match.end())
        return Name(match[0], Position.of(self.text, token.start), (match[0],))

    def _dotted(self, what: str) -> Name:
        start = self.token.start if self.token else len(self.text)
        quoted = [self._is_quoted()]
        parts = [self._name_part(what)]
        while self.take("."):
            quoted.append(self._is_quoted())
            parts.append(self._name_part("a name after the dot"))
        return Name(".".join(parts), Position.of(self.text, start), tuple(parts), tuple(quoted))

    def _is_quoted(self) -> bool:
        return self.token is not None and self.token.kind in ("string", "quoted")

    def _name_part(self, what: str) -> str:
        token = self.token
        if token is not None and token.kind in ("string", "quoted") and len(token.text) > 2:
            self._advance()
            return token.text[1:-1].replace(token.text[0] * 2, token.text[0])
        if token is None or token.kind != "word" or token.upper in _RESERVED:
            raise self.unexpected(what)
        return self._advance().text

    # ------------------------------------------------------------ values and columns

    def _item(self) -> Name | Function:
        if self._is_call():
            return self._function(0)
        if self.is_next("*"):
            return Function("*", (), Position.of(self.text, self._advance().start))
        return self._dotted("a column or a function of columns")

    def _is_call(self) -> bool:
        if self.token is None or self.token.kind != "word":
            return False
        following = self._token_after(self.token.end)
        return following is not None and following.text == "("

    def _function(self, depth: int) -> Function:
        name = self._advance()
        self.need("(", name.text)
        named: list[Attribute] = []

        def read(depth: int) -> Any:
            if name.upper == "EMBEDDING" and (argument := self._named(named)):
                named.append(argument)
                return argument
            return self._argument(depth)

        arguments = self._until(")", depth, read)
        unnamed = tuple(argument for argument in arguments if argument not in named)
        return Function(name.upper, unnamed, Position.of(self.text, name.start), tuple(named))

    def _named(self, others: Sequence[Attribute]) -> Attribute | None:
        """Read `name=value`, if that comes next."""
        token = self.token
        following = self._token_after(token.end) if token is not None and token.kind == "word" else None
        if token is None or following is None or following.text != "=":
            return None
        key = self._advance()
        if any(other.key == key.text for other in others):
            raise self.error(f"{key.text} is given twice", key.start)
        self.need("=", key.text)
        place = self.token.start if self.token else len(self.text)
        value = self._value()
        return Attribute(key.text, value, Position.of(self.text, key.start), Position.of(self.text, place))

    def _argument(self, depth: int) -> Any:
        return self._function(depth) if self._is_call() else self._value(depth, self._argument)

    def _until(self, close: str, depth: int, read: Callable[[int], Any]) -> list[Any]:
        if depth > _DEEPEST:
            raise self.error(f"brackets are nested deeper than {_DEEPEST} times")
        items: list[Any] = []
        while not self.take(close):
            if items and not self.take(","):
                raise self.unexpected(f"',' or {close!r}")
            items.append(read(depth + 1))
        return items

    def _value(self, depth: int = 0, read: Callable[[int], Any] | None = None) -> Any:
        token = self.token
        if token is None or self.at_end():
            raise self.unexpected("a value")
        if token.kind == "string":
            return _unquoted(self._advance().text)
        if token.text in "+-" or token.kind == "number":
            return self._number()
        if self.take("["):
            return self._until("]", depth, read or self._value)
        if token.text == ":":
            return self._parameter()
        if token.upper in _WORDS:
            self._advance()
            return _WORDS[token.upper]
        return self.model("a value (a number, string, list, true, false, null or name)")

    def _parameter(self) -> Any:
        colon = self._advance()
        name = self.token.text if self.token and self.token.start == colon.end else ""
        if name not in self.parameters:
            near = did_you_mean(name, self.parameters)
            raise self.error(f"no parameter :{name} was given.{near}", colon.start)
        self._advance()
        return self.parameters[name]

    def _number(self) -> int | float:
        sign = -1 if self.is_next("-") else 1
        if self.token and self.token.text in "+-":
            self._advance()
        token = self.token
        if token is None or token.kind != "number" or self.text[token.end : token.end + 1].isidentifier():
            raise self.unexpected("a number")
        self._advance()
        try:
            number = int(token.text) if token.text.replace("_", "").isdigit() else float(token.text)
        except ValueError:
            raise self.error(f"{token.text[:50]!r} is not a number", token.start) from None
        if math.isinf(number):
            raise self.error(f"the number {token.text[:50]!r} is too large", token.start)
        return sign * number


def _unquoted(text: str) -> str:
    quote = text[0]
    inside = re.compile(r"\\(.)|" + quote * 2, re.DOTALL)
    return inside.sub(lambda match: _ESCAPES.get(match[1], match[0]) if match[1] else quote, text[1:-1])

"""Compiles the functions of COLUMN into drafts of features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.spec.tableoptions import NAMES, TableOptions
from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.drafts import Draft, derive, derive_all, vocabulary
from elasticdl_nb.sql.features.selection import find_column
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Attribute, Columns, Function, Name, Position
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, Source
from elasticdl_nb.tables.kinds import MOMENTS, NUMBERS, SPANS

_DELIMITERS = {"COMMA": ",", "SEMICOLON": ";", "SPACE": " ", "TAB": "\t", "COLON": ":", "PIPE": "|"}
_TYPES = ("int", "int32", "int64", "integer", "float", "float32", "float64", "double", "string", "str")
_MOST_IDS = 2**31 - 2
"""Workers compute with ids of 32 bits."""
_MOST_RANGES = 10_000
_COMBINERS = ("sum", "mean", "sqrtn")


def compile_columns(
    clauses: Sequence[Columns], kinds: Mapping[str, str], label: str = "", types: Mapping[str, str] | None = None
) -> list[Draft]:
    """Return the drafts that COLUMN clauses ask for; `kinds` and `types` say what the query's columns are.

    `*` asks for all of them but the label. Raises SqlError, with its place, for an unknown function or column, or wrong
    arguments.
    """
    reader = _Reader(kinds, types or {})
    drafts = []
    for clause in clauses:
        target = "" if clause.target is None else clause.target.text
        for item in clause.items:
            if isinstance(item, Function) and item.name == "*":
                drafts += derive_all(kinds, label, target, item.position)
            else:
                drafts += [Draft(target, feature, item.position) for feature in reader.features(item)]
    return drafts


class _Reader:
    def __init__(self, kinds: Mapping[str, str], types: Mapping[str, str]) -> None:
        self.kinds, self.types = kinds, types
        self._functions: dict[str, Callable[[Function], Feature]] = {
            "DENSE": self._dense, "NUMERIC": self._dense, "EMBEDDING": self._embedding, "INDICATOR": self._indicator,
            **dict.fromkeys(_SOURCES, lambda function: Category(self.source(function))),
        }  # fmt: skip

    def features(self, item: Any) -> list[Feature]:
        if isinstance(item, Function):
            if item.name not in self._functions:
                near = did_you_mean(item.name, self._functions)
                raise SqlError(f"there is no COLUMN function {item.name}.{near}", item.position)
            return [self._functions[item.name](item)]
        column = self.column(item, item.position)
        found = derive(column, self.kinds[column])
        if not found:
            kind = self.types.get(column, self.kinds[column])
            raise SqlError(f"the type of column {column!r} ({kind}) cannot be used as a feature", item.position)
        return found

    # ------------------------------------------------------------ arguments

    def column(self, value: Any, place: Position) -> str:
        """Return the column that an argument names."""
        name = value.text if isinstance(value, Name) else value
        at = value.position if isinstance(value, Name) else place
        if not isinstance(name, str):
            raise SqlError("expected a column here", at)
        if name not in self.kinds and isinstance(value, Name):
            name = value.parts[-1]  # the query's columns no longer have a table
        return find_column(name, self.kinds, at)

    def _numeric_column(self, value: Any, place: Position) -> str:
        column = self.column(value, place)
        if self.kinds[column] not in (*NUMBERS, *MOMENTS, *SPANS, "empty"):
            raise SqlError(f"column {column!r} is {self.kinds[column]}, not a number", place)
        return column

    def _dense(self, function: Function) -> Number:
        sizes, words, shapes = self._sorted(function, function.arguments[1:])
        size = 1
        for value in [*sizes, *(item for shape in shapes for item in shape)]:
            size *= value if isinstance(value, int) else 0
        if size < 1:
            raise SqlError(f"{function.name} takes a column, the number of its values, and their delimiter",
                           function.position)  # fmt: skip
        column = self.column(self._first(function), function.position)
        if self.kinds[column] == LIST:
            return Number(column, size=size if sizes or shapes else 0, delimiter=",")
        if self.kinds[column] == "text":
            return Number(column, size=size, delimiter=(words[:1] or [","])[0] if size > 1 or words else "")
        column = self._numeric_column(self._first(function), function.position)
        if size > 1:
            raise SqlError(f"column {column!r} has one number in a row, not {size}", function.position)
        return Number(column)

    def _first(self, function: Function) -> Any:
        if not function.arguments:
            raise SqlError(f"{function.name} needs a column", function.position)
        return function.arguments[0]

    def _sorted(self, function: Function, values: Sequence[Any]) -> tuple[list[Any], list[str], list[Any]]:
        """Return sizes, delimiters, and lists of more than one value; names of types are ignored."""
        sizes: list[Any] = []
        words: list[str] = []
        lists: list[Any] = []
        for value in values:
            text = value.text if isinstance(value, Name) else value
            if isinstance(text, str) and text.upper() in _DELIMITERS:
                words.append(_DELIMITERS[text.upper()])
            elif isinstance(text, str) and text.lower() in _TYPES:
                continue
            elif isinstance(value, str) and value:
                words.append(value)
            elif isinstance(value, list) and len(value) == 1:
                sizes.append(value[0])
            elif isinstance(value, list):
                lists.append(value)
            elif isinstance(value, int) and not isinstance(value, bool):
                sizes.append(value)
            elif value not in (None, ""):
                raise SqlError(f"{function.name} does not take {text!r} here", function.position)
        return sizes, words, lists

    def _buckets(self, function: Function, sizes: Sequence[Any]) -> int:
        if not sizes or not isinstance(sizes[0], int) or sizes[0] < 1:
            raise SqlError(f"{function.name} needs the number of ids: {function.name}(column, 1000)", function.position)
        if sizes[0] > _MOST_IDS:
            raise SqlError(
                f"{function.name} has {sizes[0]:,} ids; at most {_MOST_IDS:,} are possible", function.position
            )
        return sizes[0]

    # ------------------------------------------------------------ categories

    def source(self, value: Any, place: Position | None = None) -> Source:
        """Return the source of ids that a column or a nested function stands for."""
        if not isinstance(value, Function):
            at = value.position if isinstance(value, Name) else place
            assert at is not None
            column = self.column(value, at)
            kind = self.kinds[column]
            if kind not in ("text", "integer", "boolean", "empty"):
                raise SqlError(f"column {column!r} is {kind}; put BUCKET around it to turn it into categories", at)
            return vocabulary(column)
        if value.name not in _SOURCES:
            near = did_you_mean(value.name, _SOURCES)
            raise SqlError(
                f"{value.name} does not make categories.{near} These do: {', '.join(_SOURCES)}", value.position
            )
        return _SOURCES[value.name](self, value)

    def _identity(self, function: Function) -> Source:
        inner = self._first(function)
        if isinstance(inner, Function):
            return replace(self.source(inner), ids="identity")
        column = self.column(inner, function.position)
        sizes, words, _ = self._sorted(function, function.arguments[1:])
        listed = words or (function.name in ("SPARSE", "SEQ_CATEGORY_ID") and self.kinds[column] == "text")
        pair = words[1] if len(words) > 1 else ""
        if self.kinds[column] not in ("integer", "boolean", "text", "empty"):
            raise SqlError(f"column {column!r} is {self.kinds[column]}; ids are whole numbers", function.position)
        return Source(
            "identity", column, self._buckets(function, sizes), delimiter=(words or [","])[0] if listed else "",
            pair_delimiter=pair,
        )  # fmt: skip

    def _hash(self, function: Function) -> Source:
        inner = self._first(function)
        sizes, words, _ = self._sorted(function, function.arguments[1:])
        if isinstance(inner, Function):
            source = self.source(inner)
            source = replace(source, ids="hash", buckets=sizes[0] if sizes else source.buckets)
        else:
            column = self.column(inner, function.position)
            source = Source("hash", column, self._buckets(function, sizes), delimiter=(words or [""])[0])
        if self.kinds.get(source.column) == "float":  # its text depends on its width, which a server may not have
            raise SqlError(
                f"column {source.column!r} is float, which has no certain text to hash; put BUCKET around it alone, "
                "or CAST it in the query to a whole number or a text",
                function.position,
            )
        return source

    def _weighted(self, function: Function) -> Source:
        inner = self._first(function)
        rest = function.arguments[1:]
        sizes, words, _ = self._sorted(function, rest)
        if isinstance(inner, Function):
            source = self.source(inner)
        else:
            source = Source("identity", self.column(inner, function.position), self._buckets(function, sizes))
        delimiter = (words or [source.delimiter or ","])[0]
        pair = words[1] if len(words) > 1 else source.pair_delimiter or ":"
        return replace(source, delimiter=delimiter, pair_delimiter=pair)

    def _bucket(self, function: Function) -> Source:
        inner = self._first(function)
        if isinstance(inner, Function):
            number = self.features(inner)[0]
            if not isinstance(number, Number) or number.size != 1:
                raise SqlError("BUCKET takes a number, or NUMERIC of a single number", inner.position)
            column = self._numeric_column(number.column, inner.position)
        else:
            column = self._numeric_column(inner, function.position)
        sizes, _, lists = self._sorted(function, function.arguments[1:])
        if lists or (sizes and isinstance(function.arguments[1], list)):
            boundaries = lists[0] if lists else sizes
            numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in boundaries)
            if not numbers or sorted(set(boundaries)) != boundaries:
                raise SqlError("the boundaries of BUCKET must be numbers in ascending order", function.position)
            return Source("bucket", column, boundaries=tuple(float(value) for value in boundaries))
        buckets = self._buckets(function, sizes)
        if buckets > _MOST_RANGES:
            raise SqlError(f"BUCKET has {buckets:,} ranges; at most {_MOST_RANGES:,} are possible", function.position)
        return Source("bucket", column, buckets)

    def _cross(self, function: Function) -> Source:
        arguments = list(function.arguments)
        if arguments and isinstance(arguments[0], list):
            items = arguments.pop(0)
        else:  # CROSS(a, b, 1000)
            items = list(itertools.takewhile(lambda value: isinstance(value, (Name, Function, str)), arguments))
            del arguments[: len(items)]
        sizes, _, _ = self._sorted(function, arguments)
        if len(items) < 2:
            raise SqlError("CROSS takes a list of columns: CROSS([a, b], 1000)", function.position)
        sources = tuple(self.source(item, function.position) for item in items)
        if any(source.delimiter for source in sources):
            raise SqlError("CROSS takes columns with one value per row", function.position)
        buckets = self._buckets(function, sizes) if sizes else 0
        return Source("cross", buckets=buckets, sources=sources)

    # ------------------------------------------------------------ outputs

    def _embedding(self, function: Function) -> Category:
        source = self.source(self._first(function), function.position)
        dimension, combiner = 0, "mean"
        for value in function.arguments[1:]:
            text = value.text if isinstance(value, Name) else value
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                dimension = value
            elif isinstance(text, str) and text.lower() in _COMBINERS:
                combiner = text.lower()
            elif value not in (None, ""):
                raise SqlError(
                    f"EMBEDDING takes a category, a dimension, and one of {', '.join(_COMBINERS)}, not {text!r}",
                    function.position,
                )
        return Category(source, "embedding", dimension, combiner, _options(function.named))

    def _indicator(self, function: Function) -> Category:
        if len(function.arguments) > 1:
            raise SqlError("INDICATOR takes a category and nothing else", function.position)
        return Category(self.source(self._first(function), function.position), "indicator", combiner="sum")


def _options(named: Sequence[Attribute]) -> TableOptions | None:
    """Return what named arguments ask of an embedding's table."""
    options = None
    for argument in named:
        if argument.key not in NAMES:
            near = did_you_mean(argument.key, NAMES)
            raise SqlError(f"EMBEDDING has no argument {argument.key}.{near}", argument.position)
        value = argument.value.text if isinstance(argument.value, Name) else argument.value
        try:
            one = TableOptions.of(**{argument.key: value})
        except ValueError as error:
            raise SqlError(str(error), argument.value_position) from None
        options = one if options is None else options if one is None else options.over(one)
    return options


_SOURCES: dict[str, Callable[[_Reader, Function], Source]] = {
    "SPARSE": _Reader._identity, "CATEGORY_ID": _Reader._identity, "SEQ_CATEGORY_ID": _Reader._identity,
    "CATEGORY_HASH": _Reader._hash, "WEIGHTED_CATEGORY": _Reader._weighted, "BUCKET": _Reader._bucket,
    "CROSS": _Reader._cross,
}  # fmt: skip

"""Generated statements: what is written is what is read, and no text breaks the parser."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.parser import parse
from elasticdl_nb.sql.language.statements import Name, Query, Statement, Train

RESERVED = {"WITH", "USING", "INTO", "FOR", "TO", "TRUE", "FALSE", "NULL", "NONE"}
words = st.from_regex(r"[A-Za-zäΩ名_][A-Za-z0-9_é]{0,6}", fullmatch=True).filter(
    lambda word: word.upper() not in RESERVED
)
dotted = st.lists(words, min_size=1, max_size=3).map(".".join)
blanks = st.sampled_from([" ", "\n", "\t ", " /* TO TRAIN x INTO y; */ ", " -- ' ; \n"])
literals = st.one_of(
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.booleans(),
    st.none(),
)
values = st.recursive(literals, lambda inner: st.lists(inner, max_size=4), max_leaves=8)
queries = st.sampled_from(
    ["SELECT * FROM t", "SELECT train, 'INTO' FROM train", "WITH a AS (SELECT 1) SELECT * FROM a", "FROM predict",
     "SELECT 1 UNION ALL (SELECT 2)", "SELECT ';' WHERE \"to train\" > 1"]
)  # fmt: skip


def written(value: Any, quote: str) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(written(item, quote) for item in value) + "]"
    if isinstance(value, str):
        return quote + value.replace("\\", "\\\\").replace(quote, quote * 2) + quote
    return "NULL" if value is None else repr(value)


@settings(max_examples=300, deadline=None)
@given(
    query=queries,
    to=st.sampled_from(["", "TO ", "to "]),
    model=dotted,
    attributes=st.dictionaries(dotted, values, max_size=4),
    label=st.none() | dotted,
    columns=st.lists(dotted, max_size=3),
    into=dotted,
    quote=st.sampled_from("'\""),
    order=st.permutations(range(4)),
    blank=blanks,
    count=st.integers(1, 3),
)
def test_what_is_written_is_read(
    query: str, to: str, model: str, attributes: dict[str, Any], label: str | None, columns: list[str], into: str,
    quote: str, order: list[int], blank: str, count: int,
) -> None:  # fmt: skip
    clauses = [f"INTO {into}"]
    if attributes:
        pairs = [f"{key}={written(value, quote)}" for key, value in attributes.items()]
        clauses.append("WITH " + f",{blank}".join(pairs))
    if columns:
        clauses.append("COLUMN " + ", ".join(columns))
    if label:
        clauses.append(f"LABEL {label}")
    clauses = [clauses[place] for place in order if place < len(clauses)]
    text = f"{query}{blank}{to}TRAIN {model}{blank}{blank.join(clauses)}"
    statements = parse(";\n".join([text] * count))
    assert len(statements) == count
    for statement in statements:
        assert isinstance(statement, Train)
        assert statement.select == query
        assert statement.text == text
        assert (statement.model.text, statement.into.text) == (model, into)
        assert {attribute.key: attribute.value for attribute in statement.attributes} == attributes
        assert (statement.label.text if statement.label else None) == label
        items = [item for part in statement.columns for item in part.items]
        assert [item.text for item in items if isinstance(item, Name)] == columns


pieces = st.sampled_from(
    ["SELECT ", "FROM ", "t ", "TO ", "TRAIN ", "PREDICT ", "EXPLAIN ", "WITH ", "a=1 ", "INTO ", "USING ", "LABEL ",
     "COLUMN ", "(", ")", "[", "]", ",", ";", ".", "'", '"', "`", "--", "/*", "*/", "\n", "$$", "$a$", "1.5", "-", ":x",
     "SHOW ", "DROP ", "MODEL ", "MODELS ", "IF ", "EXISTS ", "CREATE ", "TRIGGER ", "BEGIN ", "END ", "é", "\\", "#"]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    text=st.one_of(st.lists(pieces, max_size=25).map("".join), st.text(max_size=60)),
    dialect=st.sampled_from(["duckdb", "postgres", "mysql", "sqlite", "oracle"]),
)
def test_any_text_is_read_or_refused(text: str, dialect: str) -> None:
    try:
        statements = parse(text, dialect)
    except SqlError as error:
        assert error.position is not None
        assert 0 <= error.position.offset <= len(text)
        assert str(error)
        return
    end = 0
    for statement in statements:
        check_place(statement, text, end)
        end = statement.position.offset + len(statement.text)


def check_place(statement: Statement, text: str, end: int) -> None:
    offset = statement.position.offset
    assert offset >= end
    assert text[offset : offset + len(statement.text)] == statement.text
    assert statement.text.strip() == statement.text != ""
    if isinstance(statement, Train):
        assert all(
            not isinstance(attribute.value, float) or math.isfinite(attribute.value)
            for attribute in statement.attributes
        )


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(["SELECT 1", "SELECT ';'", "INSERT INTO train VALUES (1)", "SELECT a train FROM t",
                                 "UPDATE t SET a = 'x''y;'", "/* ; */ SELECT $$;$$ -- ;\n"]), max_size=6))  # fmt: skip
def test_scripts_of_plain_sql_come_back_as_they_are(texts: list[str]) -> None:
    statements = parse(";".join(texts))
    assert all(isinstance(statement, Query) for statement in statements)
    assert len(statements) == len(texts)
    assert all(statement.text in text for statement, text in zip(statements, texts, strict=True))

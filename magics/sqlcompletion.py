"""Completion in `%sqlflow`: verbs and clauses, models, attributes, tables and columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from elasticdl_nb.magics.sqlline import OPTIONS
from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.spec import JobKind
from elasticdl_nb.sql.language.clauses import FUNCTIONS, KEYWORDS, VERBS
from elasticdl_nb.sql.language.lexical import Token, dialect_of

if TYPE_CHECKING:
    from elasticdl_nb.magics.sqlmagic import SQLFlowMagics
    from elasticdl_nb.sql.session import Session

_MAGIC = re.compile(r"\s*(?P<magic>%{1,2})sqlflow(?:\s|$)")
_WORD = re.compile(r"[\w.]*$")
_OPTION = re.compile(r"(?:^|\s)(--[\w-]*)$")
_SQL = ("SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "JOIN", "WITH", "CREATE TABLE", "SHOW TRAIN",
        "SHOW MODELS", "DROP MODEL")  # fmt: skip
_BEFORE_TABLE = frozenset({"FROM", "JOIN", "TABLE", "UPDATE", "DESCRIBE", "SUMMARIZE"})
_KINDS: dict[str, tuple[JobKind, tuple[str, ...]]] = {
    "TRAIN": ("train", ()),
    "PREDICT": ("predict", ("replace",)),
    "EVALUATE": ("evaluate", ("replace",)),
    "EXPLAIN": ("predict", ("rows", "repeats", "seed", "replace")),
}
_CLAUSE_WORDS = frozenset({*VERBS, *KEYWORDS})


def make_sql_matcher(magic: SQLFlowMagics) -> Callable[[CompletionContext], SimpleMatcherResult]:
    """Return a matcher for `IPCompleter.custom_matchers` that knows the session's database and models."""

    @context_matcher()  # type: ignore[untyped-decorator]
    def sqlflow_matcher(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")[: context.cursor_line]
        fragment, found = complete([*lines, context.text_until_cursor], magic)
        completions = [SimpleCompletion(text=text, type="keyword") for text in found]
        return SimpleMatcherResult(
            completions=completions, matched_fragment=fragment, suppress=bool(found), ordered=True
        )

    return sqlflow_matcher  # type: ignore[no-any-return]


def complete(lines: Sequence[str], magic: SQLFlowMagics) -> tuple[str, list[str]]:
    """Return the text before the cursor that is to be replaced, and the candidates for it."""
    match = _MAGIC.match(lines[-1])
    if match is not None:
        before = lines[-1][match.end() :]
        option = _OPTION.search(before)
        if option is not None:
            names = [f"--{one.name}" + ("" if one.form == "BOOL" else "=") for one in OPTIONS]
            return option[1], [name for name in [*names, "--no_wait"] if name.startswith(option[1])]
    else:
        first = next((line for line in lines if line.strip()), "")
        match = _MAGIC.match(first)
        if match is None or match["magic"] != "%%":
            return "", []
        before = "\n".join([re.sub(r".*<<|--\S+", "", first[match.end() :]), *lines[lines.index(first) + 1 :]])
    word = _WORD.search(before)
    fragment = word[0] if word else ""
    try:
        found = candidates(before[: len(before) - len(fragment)], fragment, magic.session)
    except ElasticDLError:  # no database to look into: nothing to offer
        return "", []
    lower = fragment.lower()
    return fragment, [one for one in dict.fromkeys(found) if one.lower().startswith(lower) and one != fragment]


def candidates(before: str, fragment: str, catalog: Session) -> list[str]:
    """Return what may follow `before`, in the last statement of that text."""
    tokens = _last_statement(before, catalog.dialect)
    if tokens is None:
        return []
    words = [token.upper for token in tokens]
    last = words[-1] if words else ""
    place = next((word for word in reversed(words) if word in _CLAUSE_WORDS), "")
    verb = next((word for word in words[1:] if word in VERBS), "")
    if last == "TO":
        return [*VERBS]
    if last in _BEFORE_TABLE:
        return catalog.tables()
    if last == "TRAIN" and words[:1] != ["SHOW"]:
        return _trainable(catalog)
    if last in ("EVALUATE", "EXPLAIN", "ANALYZE", "USING", "MODEL") or words == ["SHOW", "TRAIN"]:
        return catalog.models()
    if last == "PREDICT":
        return _with_columns(catalog, fragment, catalog.tables())
    if verb and place == "WITH" and (last == "WITH" or tokens[-1].text == ","):
        return _attributes(verb, tokens, catalog)
    columns = _columns(tokens, catalog)
    if verb and place == "COLUMN" and (last == "COLUMN" or tokens[-1].text in (",", "(", "[")):
        return [*columns, *(f"{name}(" for name in FUNCTIONS)]
    if verb and last == "LABEL":
        return columns
    if verb:
        return [*KEYWORDS]
    return [*_with_columns(catalog, fragment, columns), *catalog.tables(), *_SQL, *VERBS, "TO"]


def _last_statement(before: str, dialect: str) -> list[Token] | None:
    """The tokens of the statement that the cursor is in; None inside a string or comment."""
    tokens: list[Token] = []
    try:
        for token in dialect_of(dialect).tokens(before):
            if token.kind == "end":
                tokens.clear()
            else:
                tokens.append(token)
    except ElasticDLError:
        return None
    return tokens


def _tables_named(tokens: Sequence[Token]) -> list[str]:
    """The tables named after FROM and JOIN."""
    found = []
    for place, token in enumerate(tokens[:-1]):
        if token.upper in ("FROM", "JOIN") and tokens[place + 1].kind == "word":
            name = tokens[place + 1].text
            while place + 3 < len(tokens) and tokens[place + 2].text == ".":
                place += 2
                name += f".{tokens[place + 1].text}"
            found.append(name)
    return found


def _columns(tokens: Sequence[Token], catalog: Session) -> list[str]:
    found: list[str] = []
    for table in _tables_named(tokens):
        found += _columns_of(table, catalog)
    return found


def _columns_of(table: str, catalog: Session) -> list[str]:
    try:
        return list(catalog.columns(table))
    except ElasticDLError:  # it may be an alias, or incomplete
        return []


def _with_columns(catalog: Session, fragment: str, names: list[str]) -> list[str]:
    """The names, and after `table.` that table's columns."""
    table, dot, _ = fragment.rpartition(".")
    return [f"{table}.{column}" for column in _columns_of(table, catalog)] if dot else names


def _trainable(catalog: Session) -> list[str]:
    from elasticdl_nb.sql.models.finding import model_names

    return model_names(catalog.namespace)


def _attributes(verb: str, tokens: Sequence[Token], catalog: Session) -> list[str]:
    """Keys of WITH, including those of the model named after TRAIN."""
    from elasticdl_nb.sql.language.statements import Name, Position
    from elasticdl_nb.sql.models.attributes import known_keys
    from elasticdl_nb.sql.models.finding import find_model

    model = None
    if verb == "TRAIN":
        start = next(place for place, token in enumerate(tokens) if token.upper == "TRAIN" and place)
        name = ""
        for token in tokens[start + 1 :]:
            if token.upper in KEYWORDS:
                break
            name += token.text
        try:
            model = find_model(Name(name, Position(0, 1, 1)), catalog.namespace)
        except ElasticDLError:
            return []
    kind, own = _KINDS.get(verb, _KINDS["EXPLAIN"])
    return [f"{key}=" for key in known_keys(kind, model, own)]

"""Chooses the features of a TRAIN statement: those of its COLUMN clauses, or those that the columns' kinds suggest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from elasticdl_nb.sql.features.columnfunctions import compile_columns
from elasticdl_nb.sql.features.columntypes import LIST
from elasticdl_nb.sql.features.contents import check_contents, check_moments
from elasticdl_nb.sql.features.drafts import Draft, derive_all
from elasticdl_nb.sql.features.finishing import as_factors, as_linear, finish
from elasticdl_nb.sql.features.inputs import Inputs
from elasticdl_nb.sql.features.label import about_label, label_column, label_of, with_classes
from elasticdl_nb.sql.features.selection import Selection
from elasticdl_nb.sql.features.statistics import MOST_TERMS, Statistics, collect
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Train
from elasticdl_nb.sql.models.finding import DEEP, FIELDS, LINEAR, Model
from elasticdl_nb.tables.featurerecord import Category, Feature, Number, columns_of

_FEW_VALUES = 20


def choose_inputs(statement: Train, model: Model, rows: Selection, params: Mapping[str, Any]) -> Inputs:
    """Return the model's inputs, with what the database says about their columns over all rows.

    `params` are the model's arguments. Raises SqlError, with its place, for columns or a label that cannot be used.
    """
    label = label_column(statement, rows)
    messages = []
    if statement.label is None:
        messages.append(f"label: {label}, the last column of the query (use LABEL to name another)")
    drafts = _drafts(statement, model, rows, label)
    asked = columns_of(draft.feature for draft in drafts)
    known = collect(rows, [*asked, label], _vocabularies(drafts))
    messages += [*about_label(rows, label, known[label]), *_left_out(rows, label, statement, drafts)]
    check_moments(rows, known)
    drafts, known = check_contents(drafts, rows, known)
    messages += _remarks(drafts, known)
    features = _finish(drafts, model, known, rows)
    if FIELDS in model.targets:
        features = _fields(features, params.get("embedding_dim", 8), statement)
    found = label_of(statement, model, rows, label, known[label])
    described = tuple(
        f"{_described(feature, rows)}{f' (for {target})' if target else ''}"
        for target, listed in features.items()
        for feature in listed
    )
    used = tuple(dict.fromkeys([*columns_of(item for listed in features.values() for item in listed), label]))
    return Inputs(
        used, rows.kinds, described, with_classes(params, found, statement), found,
        {target: tuple(listed) for target, listed in features.items()}, messages=tuple(messages),
    )  # fmt: skip


def _described(feature: Feature, rows: Selection) -> str:
    if isinstance(feature, Number) and rows.kinds[feature.column] == LIST:
        feature = replace(feature, delimiter="")  # it is that of the text that workers get
    return feature.describe()


# ------------------------------------------------------------------ drafts


def _drafts(statement: Train, model: Model, rows: Selection, label: str) -> list[Draft]:
    given = compile_columns(statement.columns, rows.kinds, label, rows.types)
    for draft in given:
        if label in draft.feature.columns():
            raise SqlError(f"{label!r} is the label; used as a feature, it would give the answer away", draft.position)
    derived = derive_all(rows.kinds, label)
    if model.targets == ("",):
        return given or derived
    known = (LINEAR, DEEP)
    for draft in given:
        if draft.target not in ("", *known):
            raise SqlError(f"{model.name} has no input {draft.target!r}; it has {' and '.join(known)}", draft.position)
    common = [draft for draft in given if not draft.target] or derived
    targets = {target: [d for d in given if d.target == target] or common for target in known}
    return [Draft(target, d.feature, d.position, d.derived) for target, listed in targets.items() for d in listed]


def _vocabularies(drafts: Sequence[Draft]) -> list[str]:
    """Return the columns whose values are needed for a vocabulary."""
    categories = [draft.feature for draft in drafts if isinstance(draft.feature, Category)]
    sources = [source for category in categories for source in category.source.all()]
    return list(dict.fromkeys(source.column for source in sources if source.ids == "vocabulary"))


# ------------------------------------------------------------------ remarks about the data


def _left_out(rows: Selection, label: str, statement: Train, drafts: Sequence[Draft]) -> list[str]:
    """Return what to say about columns whose types no model takes, unless COLUMN names all columns to use.

    Raises SqlError if there are no others.
    """
    if statement.columns and not any(draft.derived for draft in drafts):
        return []
    said = [
        f"{column} is left out: models take no values of the type {rows.types.get(column, kind)}"
        for column, kind in rows.kinds.items()
        if kind == "other" and column != label
    ]
    if said and not drafts:
        raise SqlError(f"no column can be used as a feature: {'; '.join(said)}", rows.position)
    return said


def _remarks(drafts: Sequence[Draft], known: Mapping[str, Statistics]) -> list[str]:
    features: dict[str, Feature] = {}
    for draft in drafts:
        for column in draft.feature.columns():
            features.setdefault(column, draft.feature)
    derived = {column for draft in drafts if draft.derived for column in draft.feature.columns()}
    remarks = []
    for column, feature in features.items():
        about = known[column]
        if column in derived and _is_left_out(feature, about):
            what = "is NULL" if about.missing == about.rows else about.sameness
            what = "is NaN or infinite" if about.odd and about.odd + about.missing == about.rows else what
            remarks.append(f"{column} {what} in all rows, so it is left out")
        else:
            remarks += _remarks_on_values(column, feature, about)
    return remarks


def _remarks_on_values(column: str, feature: Feature, about: Statistics) -> list[str]:
    remarks = []
    if about.odd:
        odd = f"is NaN or infinite in {about.odd:,} of"
        if isinstance(feature, Number) and feature.delimiter:
            odd = f"has {about.odd:,} numbers that are NaN or infinite in its"
        remarks.append(f"{column} {odd} {about.rows:,} rows; these count as the mean")
    if about.missing:
        how = "counts as the mean" if isinstance(feature, Number) else "is a category of its own"
        remarks.append(f"{column} is NULL in {about.missing:,} of {about.rows:,} rows; NULL {how}")
    if len(about.terms) > MOST_TERMS:
        remarks.append(f"{column}: only the {MOST_TERMS:,} most frequent values are distinguished")
    elif len(about.terms) > _FEW_VALUES and len(about.terms) > 0.9 * (about.rows - about.missing):
        remarks.append(f"{column} has a different value in almost every row; a model learns little from such a column")
    return remarks


def _is_left_out(feature: Feature, known: Statistics) -> bool:
    if isinstance(feature, Number) or known.missing == known.rows:
        return known.is_constant
    return len(known.terms) == 1 and not known.missing


# ------------------------------------------------------------------ finished features


def _finish(
    drafts: Sequence[Draft], model: Model, known: Mapping[str, Statistics], rows: Selection
) -> dict[str, list[Feature]]:
    features: dict[str, list[Feature]] = {}
    for draft in drafts:
        column, *_ = draft.feature.columns()
        if draft.derived and _is_left_out(draft.feature, known[column]):
            continue
        feature = finish(draft.feature, known)
        features.setdefault(draft.target, []).append(as_linear(feature) if draft.target == LINEAR else feature)
    if not features or any(not listed for listed in features.values()):
        raise SqlError("no column can be used as a feature", rows.position)
    return features


def _fields(features: dict[str, list[Feature]], dimension: int, statement: Train) -> dict[str, list[Feature]]:
    """Divide the dense network's features into numbers and categories, which all get embeddings of the same size."""
    fields = [made for feature in features[DEEP] if (made := as_factors(feature, dimension)) is not None]
    if not fields:
        raise SqlError(f"{statement.model} needs categories, such as a text column", statement.model.position)
    numbers: list[Feature] = [feature for feature in features[DEEP] if isinstance(feature, Number)]
    return {LINEAR: features[LINEAR], FIELDS: fields, **({DEEP: numbers} if numbers else {})}

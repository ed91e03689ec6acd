"""Features as JSON values, and back."""

from __future__ import annotations

from typing import Any

from elasticdl_nb.runtime.spec.bounds import Bounds
from elasticdl_nb.runtime.spec.tableoptions import ROW_DTYPES, TableOptions
from elasticdl_nb.tables.featurerecord import Category, Feature, Ids, Number, Source
from elasticdl_nb.tables.jsonfields import Fields, RecordError, as_number, as_text


def feature_to_json(feature: Feature) -> dict[str, Any]:
    """Return the feature as JSON values."""
    if isinstance(feature, Number):
        return {
            "kind": "number", "column": feature.column, "size": feature.size, "delimiter": feature.delimiter,
            "part": feature.part, "mean": feature.mean, "deviation": feature.deviation,
        }  # fmt: skip
    return {
        "kind": "category", "source": _source_to_json(feature.source), "output": feature.output,
        "dimension": feature.dimension, "combiner": feature.combiner,
        **({} if feature.options is None else feature.options.to_json()),
    }  # fmt: skip


def feature_from_json(value: Any, where: str) -> Feature:
    """Return the feature from the values that `feature_to_json` gave; raise RecordError if they are not valid."""
    fields = Fields(value, where)
    kind = fields.text("kind")
    feature: Feature
    if kind == "number":
        feature = Number(
            fields.text("column"), fields.whole("size"), fields.text("delimiter"), fields.text("part"),
            fields.number("mean"), fields.number("deviation"),
        )  # fmt: skip
    elif kind == "category":
        feature = Category(
            _source_from_json(fields.any("source"), f"{where}.source"), fields.text("output"),
            fields.whole("dimension"), fields.text("combiner"), _options(fields, where),
        )  # fmt: skip
        fields.optional("size", int)  # records of version 1 have it, but it follows from the source
    else:
        raise RecordError(f"{where}.kind: expected number or category, not {kind!r}")
    fields.end()
    return feature


def _options(fields: Fields, where: str) -> TableOptions | None:
    bounds, row_dtype = fields.optional("bounds", _bounds_from_json), fields.optional("row_dtype", str) or ""
    if row_dtype and row_dtype not in ROW_DTYPES:
        raise RecordError(f"{where}.row_dtype: {row_dtype!r} is not one of {', '.join(ROW_DTYPES)}")
    return TableOptions(bounds, row_dtype) if bounds is not None or row_dtype else None


def _bounds_from_json(value: Any) -> Bounds:
    fields = Fields(value, "bounds")
    bounds = Bounds(
        fields.whole("min_count"), fields.whole("ttl_steps"), fields.number("ttl_seconds"), fields.whole("max_rows"),
        fields.whole("slot_half_life") if "slot_half_life" in value else 0,
    )  # fmt: skip
    fields.end()
    return bounds


def _source_to_json(source: Source) -> dict[str, Any]:
    return {
        "ids": source.ids, "column": source.column, "buckets": source.buckets,
        "terms": None if source.terms is None else list(source.terms), "boundaries": list(source.boundaries),
        "sources": [_source_to_json(inner) for inner in source.sources], "delimiter": source.delimiter,
        "pair_delimiter": source.pair_delimiter,
    }  # fmt: skip


def _source_from_json(value: Any, where: str) -> Source:
    fields = Fields(value, where)
    ids = _ids(fields.text("ids"), where)
    terms = fields.any("terms")
    source = Source(
        ids, fields.text("column"), fields.whole("buckets"),
        None if terms is None else tuple(as_text(term, f"{where}.terms") for term in terms),
        fields.list("boundaries", as_number), fields.list("sources", _source_from_json), fields.text("delimiter"),
        fields.text("pair_delimiter"),
    )  # fmt: skip
    fields.end()
    return source


def _ids(name: str, where: str) -> Ids:
    match name:
        case "vocabulary" | "identity" | "hash" | "bucket" | "cross":
            return name
    raise RecordError(f"{where}.ids: {name!r} is not one of vocabulary, identity, hash, bucket and cross")

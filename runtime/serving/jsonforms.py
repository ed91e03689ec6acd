"""Requests and answers of TensorFlow Serving's REST interface: JSON in rows (`instances`) or columns (`inputs`)."""

from __future__ import annotations

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.serving.columns import MOMENTS, wanted
from elasticdl_nb.runtime.serving.form import Form, Values, check_names
from elasticdl_nb.runtime.serving.problems import invalid

_FIELDS = ("signature_name", "instances", "inputs")


class Request:
    """A request's values, which have not been compared with a model yet. Raises Refused if it is not a request."""

    def __init__(self, body: bytes) -> None:
        try:
            content = json.loads(body, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise invalid(f"JSON Parse error: {error}") from None
        if not isinstance(content, dict):
            raise invalid("JSON Value: the request must be an object with 'instances' or 'inputs'")
        for name in content:
            if name not in _FIELDS:
                raise invalid(f"the request has an unknown field {name!r}.{did_you_mean(name, _FIELDS)}")
        self.signature = content.get("signature_name", "")
        if not isinstance(self.signature, str):
            raise invalid("'signature_name' must be a text")
        if ("instances" in content) == ("inputs" in content):
            raise invalid("the request must have either 'instances' or 'inputs'")
        self.in_rows = "instances" in content
        self._content = content["instances" if self.in_rows else "inputs"]

    def arrays(self, forms: Mapping[str, Form]) -> dict[str, NDArray[Any]]:
        """Return the inputs as arrays of the model's types; raises Refused for values of other types."""
        columns = self._of_rows(forms) if self.in_rows else self._columns(forms)
        return {name: _array(name, values, forms[name]) for name, values in columns.items()}

    def _columns(self, forms: Mapping[str, Form]) -> Mapping[str, Any]:
        given: Any = self._content
        if not isinstance(given, dict) or set(given) == {"b64"}:
            if len(forms) != 1:
                raise invalid(f"'inputs' must be an object with {', '.join(forms)}")
            given = dict.fromkeys(forms, given)
        check_names(given, forms)
        return {name: given[name] for name in forms}

    def _of_rows(self, forms: Mapping[str, Form]) -> Mapping[str, Any]:
        rows = self._content
        if not isinstance(rows, list) or not rows:
            raise invalid("'instances' must be a list of at least one record")
        named = [isinstance(row, dict) and set(row) != {"b64"} for row in rows]
        if not any(named):
            if len(forms) != 1:
                raise invalid(f"each of 'instances' must be an object with {', '.join(forms)}")
            return dict.fromkeys(forms, rows)
        if not all(named):
            raise invalid("'instances' must all be objects, or none")
        for row in rows:
            check_names(row, forms)
        return {name: [row[name] for row in rows] for name in forms}


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise invalid(f"the request has {name[:100]!r} twice in an object")
    return content


def _array(name: str, values: Any, form: Form) -> NDArray[Any]:
    if form.column and isinstance(values, list) and None in values:
        return _with_missing(name, values, form)
    if form.column in MOMENTS and isinstance(values, list) and not all(isinstance(one, str) for one in values):
        raise invalid(f"the input {name!r} must have {wanted(form.column)}, as text")
    return _complete(name, values, form)


def _with_missing(name: str, values: list[Any], form: Form) -> NDArray[Any]:
    """Return a column in which values are missing, as readers of data do: NaN, and "" among texts."""
    present = np.array([value is not None for value in values])
    known = _array(name, [value for value in values if value is not None], form)
    if known.ndim != 1:
        raise invalid(f"the input {name!r} must be {form}; it has lists")
    column: NDArray[Any]
    column = np.full(len(values), b"", object) if form.dtype == "string" else np.full(len(values), np.nan)
    column[present] = known
    return column


def _complete(name: str, values: Any, form: Form) -> NDArray[Any]:
    wanted = form.numpy
    try:
        if form.dtype == "string":
            return _texts(values)
        # As objects first: as an array of texts, each would have the length of the longest.
        leaves = set(map(type, np.array(values, object).flat))
        if list in leaves:
            raise ValueError("ragged")
        if leaves - {int, float, bool} or (bool in leaves and len(leaves) > 1):
            raise invalid(f"the input {name!r} must be {form}; it has values of another type")
        found = np.asarray(values)
        if found.dtype == object and (wanted.kind == "f" or wanted.name == "bfloat16"):
            found = np.asarray(values, np.float64)  # a whole number of more than 64 bits
    except OverflowError:
        raise invalid(f"the input {name!r} must be {form}; it has values outside of that range") from None
    except (ValueError, TypeError, RecursionError):
        raise invalid(
            f"the input {name!r} must be {form}: its lists differ in length or in depth, or in what they hold"
        ) from None
    if form.column == "integer" and found.dtype.kind == "f" and found.size:
        return found.astype(np.float64)  # as in gRPC: pandas has whole numbers as floats where some are missing
    accepted = {"f": "iuf", "i": "iu", "u": "iu", "b": "b"}.get(wanted.kind, "")
    if wanted.name == "bfloat16":
        accepted = "iuf"
    if found.dtype.kind not in accepted and found.size:
        raise invalid(f"the input {name!r} must be {form}; it has values of another type")
    with np.errstate(over="ignore", invalid="ignore"):
        result = found.astype(wanted)
    exact = wanted.kind not in "iu" or np.array_equal(result, found)
    if not exact or (accepted == "iuf" and not np.array_equal(np.isfinite(result), np.isfinite(found))):
        raise invalid(f"the input {name!r} must be {form}; it has values outside of that range")
    return result


def _texts(values: Any) -> NDArray[np.object_]:
    """Return texts as bytes, in an array of objects; raises ValueError if there is anything else."""
    shape: list[int] = []
    level = values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat: list[Any] = [values]
    for size in shape:
        if any(not isinstance(one, list) or len(one) != size for one in flat):
            raise ValueError("ragged")
        flat = [inner for one in flat for inner in one]
    result = np.empty(len(flat), object)
    result[:] = [_text(one) for one in flat]
    return result.reshape(shape)


def _text(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error:
            raise invalid("a value of 'b64' is not base64") from None
    raise ValueError("no text")


def answer(outputs: Values, in_rows: bool) -> bytes:
    """Return the answer to a request, in the form of its inputs."""
    plain = {name: _plain(value) for name, value in outputs.items()}
    single = next(iter(plain.values())) if len(plain) == 1 else None
    if not in_rows:
        return json.dumps({"outputs": plain if single is None else single}).encode()
    rows = single
    if rows is None:
        rows = [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]
    return json.dumps({"predictions": rows}).encode()


def _plain(value: NDArray[Any]) -> Any:
    if value.dtype != object:
        return value.astype(np.float32).tolist() if value.dtype.kind == "V" else value.tolist()
    flat = [_as_json(one) for one in value.reshape(-1)]
    for size in reversed(value.shape[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)] if size else []
    return flat


def _as_json(value: Any) -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"b64": base64.b64encode(value).decode()}
    return value

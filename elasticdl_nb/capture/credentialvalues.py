"""Finds credentials in the values of a package, however deep: in containers, objects, closures and arrays."""

from __future__ import annotations

import ast
import contextlib
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from elasticdl_nb.capture.credentials import (
    HARMLESS,
    HARMLESS_CURE,
    credential_in,
    is_credential,
    written_credentials,
)
from elasticdl_nb.capture.roots import Root
from elasticdl_nb.capture.state import writing
from elasticdl_nb.capture.trace import Trace

_SHORTEST = 9  # letters of a text whose form may give it away
_MOST_TEXTS = 200_000  # of an array


def credentials_in_values(roots: Iterable[Root], trace: Trace) -> list[str]:
    """Return a problem for each value that holds what looks like a credential, unless its line says that it is none."""
    problems = []
    for root in roots:
        found = next(_found(root), None)
        if found is not None and not _is_harmless(root, trace):
            problems.append(
                f"{root.target!r}{f' (used by {root.used_by})' if root.used_by else ''} holds what looks like a "
                f"credential ({found}, {root.place}): it is not written to the package; read it from os.environ inside "
                f"the function and pass it with --envs{HARMLESS_CURE}"
            )
    return problems


def _found(root: Root) -> Iterator[str]:
    """Paths to credentials in a value."""
    name = root.target.rpartition(".")[2]
    if credential_in(name, root.live):
        yield root.target
    if root.source is not None and root.source.text:
        text = f"{name if name.isidentifier() else '_'} = {root.source.text}"
        yield from (f"{root.target}: {one}" for one in written_credentials(ast.parse(text), text))
    held = (one[1] for one in root.survey.kept.values()) if root.survey is not None else ()
    for value in (root.live, *held):
        named = ((key, inner) for key, inner in _named(value) if is_credential(key, inner))
        if (pair := next(named, None)) is not None:
            path = writing.path_to(root.live, pair[1], root.target)
            yield f"{path}, {pair[0]}" if path == root.target else path
        if any(len(text) >= _SHORTEST and is_credential("", text) for text in _texts(value)):
            yield writing.path_to(root.live, value, root.target)


def _named(value: Any) -> Iterator[tuple[str, Any]]:
    """Texts inside a value that have a name there."""
    if type(value) is dict:
        yield from ((key, inner) for key, inner in value.items() if type(key) is str and type(inner) in (str, bytes))
    elif isinstance(value, types.FunctionType):
        for key, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            with contextlib.suppress(ValueError):  # an empty cell
                yield key, cell.cell_contents


def _texts(value: Any) -> Iterator[str | bytes]:
    """The text that a value is, or those of an array or a frame."""
    if isinstance(value, (str, bytes)):
        yield value
        return
    numpy: Any = sys.modules.get("numpy")
    pandas: Any = sys.modules.get("pandas")
    if numpy is not None and isinstance(value, numpy.ndarray) and value.dtype.kind in "USO":
        yield from (one for one in value.reshape(-1)[:_MOST_TEXTS].tolist() if isinstance(one, (str, bytes)))
    elif pandas is not None and isinstance(value, pandas.DataFrame):
        for place in range(value.shape[1]):
            yield from _texts(value.iloc[:, place])
    elif pandas is not None and isinstance(value, (pandas.Series, pandas.Index)) and value.dtype.kind not in "biufcmM":
        yield from _texts(value[:_MOST_TEXTS].to_numpy(object))


def _is_harmless(root: Root, trace: Trace) -> bool:
    """Whether a statement that makes or changes it ends its line with the comment that says so."""
    name, attribute = root.target.partition(".")[0], root.target.rpartition(".")[2]
    return any(
        HARMLESS in statement.text + statement.rest_of_line
        for statement in trace.statements
        if name in statement.binds or name in statement.uses.now or f".{attribute}" in statement.text
    )

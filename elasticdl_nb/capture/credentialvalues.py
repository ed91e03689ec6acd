"""Finds credentials in the values of a package, however deep: in containers, objects, closures and arrays."""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from elasticdl_nb.capture.credentials import (
    HARMLESS,
    HARMLESS_CURE,
    credential_in,
    has_form,
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
        if found is not None and not _is_harmless(root, found, trace):
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
        for key, inner in _named(value):
            if is_credential(key, inner):
                yield writing.path_to(root.live, inner, f"{root.target}…{key}")
        if isinstance(value, (str, bytes)) and len(value) >= _SHORTEST and is_credential("", value):
            yield writing.path_to(root.live, value, root.target)
        if _texts_of(value):
            yield writing.path_to(root.live, value, root.target)


def _named(value: Any) -> Iterator[tuple[str, Any]]:
    """Texts inside a value that have a name there."""
    if type(value) is dict:
        yield from ((key, inner) for key, inner in value.items() if type(key) is str and type(inner) in (str, bytes))
    elif isinstance(value, types.FunctionType):
        for key, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            try:
                yield key, cell.cell_contents
            except ValueError:
                continue


def _texts_of(value: Any) -> bool:
    """Whether an array or a column of texts holds a credential."""
    numpy: Any = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.kind not in "USO":
        return False
    texts = (one for one in value.reshape(-1)[:_MOST_TEXTS].tolist() if isinstance(one, (str, bytes)))
    return any(len(one) >= _SHORTEST and has_form(one if isinstance(one, str) else str(one)) for one in texts)


def _is_harmless(root: Root, found: str, trace: Trace) -> bool:
    """Whether a statement that binds or sets it ends its line with the comment that says so."""
    name = root.target.rpartition(".")[2]
    return any(
        HARMLESS in statement.text + statement.rest_of_line
        for statement in trace.statements
        if name in statement.binds or statement is root.origin or f".{name}" in statement.text
    )

"""What a person should know about a package: state that stays behind, and definitions that are out of step."""

from __future__ import annotations

import ast
import types
from collections.abc import Iterable, Iterator
from typing import Any

from elasticdl_nb.capture import values
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import Trace

FITTING_METHODS = frozenset({"fit", "fit_transform", "partial_fit", "train_on_batch", "load_weights"})
LOOKUPS_BY_TEXT = ("globals", "eval", "exec")


def was_fitted(trace: Trace, name: str, origin: Statement, live: Any) -> str | None:
    """Where an object that is no Keras model learned its state from data since it was made, or None."""
    if _is_keras(live):
        return None
    for statement in trace.statements[origin.index + 1 :]:
        if any(root == name and method in FITTING_METHODS for root, method in statement.surface.method_calls):
            return statement.piece.place
    return None


def is_constant_tensor(trace: Trace, origin: Statement, live: Any) -> bool:
    """Whether a small eager tensor is written out in its cell, such as `tf.constant([1.0, 2.0])`."""
    shape = getattr(live, "shape", None)
    if not (hasattr(live, "numpy") and not hasattr(live, "assign") and hasattr(shape, "num_elements")):
        return False
    if shape is None or shape.num_elements() > values.MAX_ARRAY or "random" in origin.text:
        return False
    return all(
        isinstance(used, (types.ModuleType, type)) or callable(used) or values.write_value(used) is not None
        for used in map(trace.live, origin.uses.now)
    )


def stale_bases(trace: Trace, kept: Iterable[Statement]) -> Iterator[str]:
    """Warn of classes that are built on an earlier definition of their base."""
    for statement in kept:
        for base in sorted(statement.surface.bases):
            then, now = trace.origin(base, statement.index), trace.origin(base)
            if then and now and then is not now and then.text != now.text:
                place = statement.piece.place
                yield (
                    f"{getattr(statement.node, 'name', base)} ({place}) is built on {base} as {then.piece.place} "
                    f"defined it; run {place} again to build it on the {base} of {now.piece.place}"
                )


def lost_training(trace: Trace, kept: Iterable[Statement]) -> Iterator[str]:
    """Warn of models whose weights were trained or loaded in the notebook."""
    names = {name for statement in kept for name in statement.binds}
    for statement in trace.statements:
        for root, method in sorted(statement.surface.method_calls):
            if root in names and method in FITTING_METHODS and _is_keras(trace.live(root)):
                yield (
                    f"{root}.{method}() in {statement.piece.place} is not repeated: the package holds the definition "
                    f"of {root}, not its trained weights"
                )


def changed_defaults(trace: Trace, kept: Iterable[Statement]) -> Iterator[str]:
    """Warn of functions that keep something in a default argument, as in `def f(x, seen=[])`: it starts anew."""
    for statement in kept:
        node = statement.node
        live = trace.live(getattr(node, "name", ""))
        functions = [(node, live)] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.ClassDef) and isinstance(live, type):
            functions = [(one, vars(live).get(one.name)) for one in node.body if isinstance(one, ast.FunctionDef)]
        for written, function in functions:
            if isinstance(function, types.FunctionType) and _has_changed_default(written, function):
                place = statement.piece.place
                yield (
                    f"a default argument of {function.__qualname__} ({place}) has been changed by calls: the package "
                    f"has it as it is written"
                )


def _has_changed_default(written: ast.FunctionDef, live: types.FunctionType) -> bool:
    parameters = written.args
    pairs = list(zip(reversed(parameters.defaults), reversed(live.__defaults__ or ()), strict=False))
    named = live.__kwdefaults__ or {}
    pairs += [
        (default, named[parameter.arg])
        for parameter, default in zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True)
        if default is not None and parameter.arg in named
    ]
    return any(
        isinstance(default, (ast.List, ast.Dict, ast.Set))
        and _is_literal(default)
        and not values.is_literal_of(default, value)
        for default, value in pairs
    )


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True


def lookups_by_text(kept: Iterable[Statement]) -> Iterator[str]:
    """Warn of functions that look names up in a way that cannot be followed."""
    for statement in kept:
        for function in LOOKUPS_BY_TEXT:
            if function in statement.uses.late:
                yield (
                    f"{statement.uses.late[function]} ({statement.piece.place}) calls {function}(): names that it only "
                    f"finds that way are not packaged"
                )


def _is_keras(value: Any) -> bool:
    return any(parent.__module__.partition(".")[0] == "keras" for parent in type(value).__mro__)

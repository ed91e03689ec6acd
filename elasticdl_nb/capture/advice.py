"""What a person should know about a package: state that stays behind, and definitions that are out of step."""

from __future__ import annotations

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

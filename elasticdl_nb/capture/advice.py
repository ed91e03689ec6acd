"""What a user should know about a package: what is left behind or large, out of date, or where weights come from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Any

from elasticdl_nb.capture.roots import DATA_CURE, Root
from elasticdl_nb.capture.state import writing
from elasticdl_nb.capture.state.arrays import sharing
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import Trace

LOOKUPS_BY_TEXT = ("globals", "eval", "exec")


def stale_bases(trace: Trace, kept: Iterable[Statement]) -> Iterator[str]:
    """Warn about classes that are built on an earlier definition of their base."""
    for statement in kept:
        for base in sorted(statement.surface.bases):
            then, now = trace.origin(base, statement.index), trace.origin(base)
            if then and now and then is not now and now.text not in (then.text, statement.text):
                place = statement.piece.place
                yield (
                    f"{getattr(statement.node, 'name', base)} ({place}) is built on {base} as {then.piece.place} "
                    f"defined it; run {place} again to build it on the {base} of {now.piece.place}"
                )


def lookups_by_text(kept: Iterable[Statement]) -> Iterator[str]:
    """Warn about functions that look up names in a way that capture cannot follow."""
    for statement in kept:
        for function in LOOKUPS_BY_TEXT:
            if function in statement.uses.late:
                yield (
                    f"{statement.uses.late[function]} ({statement.piece.place}) calls {function}(): names that it only "
                    f"finds that way are not packaged"
                )


def settings_of_environment(trace: Trace, kept: Iterable[Statement]) -> Iterator[str]:
    """Warn about environment variables that cells set, if anything might read them."""
    if not any(
        "os" in statement.binds or "environ" in statement.text or "getenv" in statement.text for statement in kept
    ):
        return
    for statement in trace.statements:
        if "environ" in statement.text and _sets_environment(statement.node):
            yield (f"{statement.piece.place} sets environment variables: they are not packaged; pass them with --envs")


def _sets_environment(node: ast.AST) -> bool:
    for inner in ast.walk(node):
        if (
            isinstance(inner, ast.Subscript)
            and isinstance(inner.ctx, ast.Store)
            and "environ" in ast.unparse(inner.value)
        ):
            return True
        if isinstance(inner, ast.Call) and ast.unparse(inner.func).endswith(("environ.update", "environ.setdefault")):
            return True
    return False


# ------------------------------------------------------------------ values


def large(roots: Iterable[Root], limit: int = 50 * 2**20) -> list[str]:
    """Return warnings about very large single values."""
    found = []
    for root in roots:
        size = root.survey.size if root.survey else root.live.nbytes if root.suffix == ".npy" else 0
        if size > limit:
            kind = type(root.live).__name__
            found.append(
                f"{root.target} ({root.place}) is a {kind} of {size / 2**20:,.0f} MB, which travels with the package; "
                f"{DATA_CURE} if the model does not need it"
            )
    return found


def weights(roots: Iterable[Root], plan: Any, scratch: bool) -> tuple[list[str], list[str]]:
    """Return notes about models that start from the notebook's weights, and warnings about those that have to.

    `plan` is the `weights.Plan` for all of them.
    """
    notes, warnings = [], []
    for root in roots if plan is not None else ():
        kept = root.survey.kept if root.survey is not None else {}
        unknown, trained = ([one for one in layers if id(one) in kept] for layers in (plan.unknown, plan.trained))
        if scratch and unknown:
            kinds = ", ".join(sorted({type(layer).__name__ for layer in unknown}))
            warnings.append(
                f"{root.target} keeps weights whose initial values are not known ({kinds}), even with --from_scratch"
            )
        elif not scratch and (unknown or trained):
            notes.append(f"starts from the notebook's weights of `{root.target}`; pass --from_scratch for initial ones")
    return notes, warnings


def shared_memory(roots: Iterable[Root]) -> list[str]:
    """Return warnings about arrays that share memory, anywhere in the values: in the package, they no longer do."""
    found: dict[int, tuple[Any, Root]] = {}
    for root in roots:
        kept = (one[1] for one in root.survey.kept.values()) if root.survey is not None else ()
        for value in (root.live, *kept):
            if type(value).__name__ == "ndarray":
                found.setdefault(id(value), (value, root))
    warnings = []
    for group in sharing(found.values()):
        paths = [(writing.path_to(root.live, array, root.target), array is root.live) for array, root in group]
        # Without a path to it, an array is a library's own, which knows whether to copy it.
        shown = [path for path, is_root in paths if is_root or not path.isidentifier()]
        if len(shown) > 1:
            warnings.append(
                f"{', '.join(shown)} share their memory; in the package, each has its own, so that changing one does "
                "not change the others"
            )
    return warnings


def weights_of_files(roots: Iterable[Root], trace: Trace) -> list[str]:
    """Return warnings about models that got weights from a file: they travel, and the file is not read again."""
    models = {root.target for root in roots if root.survey is not None and root.survey.has_keras}
    found = []
    for statement in trace.statements if models else ():
        if "load_weights" in statement.text:
            found += [
                f"{name} starts from the weights that it has now, after load_weights in {statement.piece.place}; they "
                "travel with the package, and the file is not read again"
                for name in sorted(models & _mentioned_with(statement, trace))
            ]
    return found


def _mentioned_with(statement: Statement, trace: Trace) -> set[str]:
    """Names in a statement or, if it is a definition, in it and in whatever leads to a call of it."""
    if not statement.is_definition:
        return {*statement.uses.now, *statement.binds}
    leading, found, used = set(statement.binds), set(statement.uses.late), False
    for later in trace.statements[statement.index + 1 :]:
        names = {*later.uses.now, *later.uses.late}
        if names & leading:
            leading |= later.binds
            used = used or not later.is_definition
            found |= names | later.binds
    return found if used else set()

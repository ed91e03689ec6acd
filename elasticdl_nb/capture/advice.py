"""What a user should know about a package: what is left behind or large, out of date, or where weights come from."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from elasticdl_nb.capture.roots import DATA_CURE, Root
from elasticdl_nb.capture.state import writing
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


def weights(roots: Iterable[Root], scratch: bool) -> tuple[list[str], list[str]]:
    """Return notes about models that start from the notebook's weights, and warnings about those that have to."""
    notes, warnings = [], []
    for root in roots:
        plan = writing.weights_of([root.survey], scratch) if root.survey is not None else None
        if plan is None:
            continue
        if scratch and plan.unknown:
            kinds = ", ".join(sorted({type(layer).__name__ for layer in plan.unknown}))
            warnings.append(
                f"{root.target} keeps weights whose initial values are not known ({kinds}), even with --from_scratch"
            )
        elif not scratch and plan.trained:
            notes.append(f"starts from the notebook's weights of `{root.target}`; pass --from_scratch for initial ones")
    return notes, warnings


def shared_memory(roots: Iterable[Root]) -> list[str]:
    """Return warnings about arrays that are parts of one array, which the package does not keep."""
    arrays: dict[int, dict[int, str]] = {}
    for root in roots:
        owner = root.live
        while type(owner).__name__ == "ndarray" and type(owner.base).__name__ == "ndarray":
            owner = owner.base
        if type(owner).__name__ == "ndarray":
            arrays.setdefault(id(owner), {}).setdefault(id(root.live), root.target)
    return [
        f"{', '.join(names.values())} share their memory; in the package, each has its own, so that changing one "
        "does not change the others"
        for names in arrays.values()
        if len(names) > 1
    ]


def weights_of_files(roots: Iterable[Root], trace: Trace) -> list[str]:
    """Return warnings about models that got weights from a file: they travel, and the file is not read again."""
    models = {root.target for root in roots if root.survey is not None and root.survey.has_keras}
    found = []
    for statement in trace.statements:
        if "load_weights" not in statement.text or statement.is_definition:
            continue
        calls = [node.func for node in ast.walk(statement.node) if isinstance(node, ast.Call)]
        loading = [one for one in calls if isinstance(one, ast.Attribute) and one.attr == "load_weights"]
        names = {ast.unparse(one.value).partition(".")[0] for one in loading}
        found += [
            f"{name} starts from the weights that it has now, after load_weights in {statement.piece.place}; they "
            "travel with the package, and the file is not read again"
            for name in sorted(names & models)
        ]
    return found

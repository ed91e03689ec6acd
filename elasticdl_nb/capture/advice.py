"""What a user should know about a package: state that is left behind, and definitions that are out of date."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

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

"""The order in which statements ran, and which of them gave a name its value at any point."""

from __future__ import annotations

import ast
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from elasticdl_nb.capture.cells import Piece
from elasticdl_nb.capture.live import MISSING, defines, members
from elasticdl_nb.capture.statements import Statement, value_of
from elasticdl_nb.capture.surface import root_name
from elasticdl_nb.capture.uses import LAZY_ANNOTATIONS

END = 1 << 60  # "after everything ran"


class Trace:
    """Statements in the order of execution, with the namespace that they left behind."""

    def __init__(self, pieces: Iterable[Piece], namespace: Mapping[str, Any]) -> None:
        self.statements: list[Statement] = []
        lazy_annotations = False
        for index, piece in enumerate(pieces):
            # IPython keeps what a cell imports from __future__ in effect for the cells after it.
            lazy_annotations = lazy_annotations or piece.text == LAZY_ANNOTATIONS
            self.statements.append(Statement(index, piece, lazy_annotations))
        self.namespace = namespace
        self._origins: dict[str, Statement | None] = {}

    def live(self, name: str) -> Any:
        """The object that the name means now, or MISSING."""
        return self.namespace.get(name, MISSING)

    @cached_property
    def _binders(self) -> dict[str, list[int]]:
        binders: dict[str, list[int]] = {}
        for statement in self.statements:
            for name in statement.binds:
                binders.setdefault(name, []).append(statement.index)
        return binders

    @cached_property
    def _definitions_at(self) -> dict[str, list[Statement]]:
        """Definitions, by the names of their decorators and base classes."""
        found: dict[str, list[Statement]] = {}
        for statement in self.statements:
            if statement.is_definition:
                for name in statement.surface.decorators | statement.surface.bases:
                    found.setdefault(name, []).append(statement)
        return found

    @cached_property
    def _calls_to_register(self) -> list[Statement]:
        """Statements of the form `name.register(…)`."""
        found = []
        for statement in self.statements:
            call = statement.node.value if isinstance(statement.node, ast.Expr) else None
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "register":
                found += [statement] if root_name(call.func) else []
        return found

    @cached_property
    def _lists_subclasses(self) -> bool:
        return any("__subclasses__" in statement.text for statement in self.statements)

    def binders(self, name: str) -> list[Statement]:
        """Every statement that gives the name a value, oldest first."""
        return [self.statements[index] for index in self._binders.get(name, ())]

    def origin(self, name: str, at: int = END) -> Statement | None:
        """The statement that gave the name its value just before statement `at`, or None."""
        if at == END:
            if name not in self._origins:
                self._origins[name] = self._origin_now(name)
            return self._origins[name]
        indexes = self._binders.get(name, [])
        earlier = [self.statements[index] for index in indexes[: bisect_left(indexes, at)]]
        return next((one for one in reversed(earlier) if not one.piece.doubtful), earlier[-1] if earlier else None)

    def _origin_now(self, name: str) -> Statement | None:
        binders = self.binders(name)
        if len(binders) > 1 or (binders and binders[0].piece.doubtful):
            live = self.live(name)
            for one in reversed(binders):
                if one.is_definition and defines(one.piece, live):
                    return one
                if one.star_module or (not one.is_definition and not one.piece.doubtful):
                    break
        return self.origin(name, END - 1)

    def settle(self, name: str, at: int) -> int:
        """Return END if the name means now what it meant just before statement `at`; otherwise `at`."""
        indexes = self._binders.get(name)
        return END if not indexes or (indexes[-1] < at and name in self.namespace) else at

    def last_binding(self, name: str) -> int:
        """Index of the last statement that bound the name; -1 if none did."""
        return self._binders.get(name, [-1])[-1]

    def registrations(self, name: str) -> Iterator[Statement]:
        """Later definitions that register with a kept one: decorated with it or, for some classes, derived from it."""
        live = self.live(name)
        for statement in self._definitions_at.get(name, ()):
            if statement.index <= self.last_binding(name) or name in statement.binds:
                continue
            surface = statement.surface
            derived = name in surface.bases and isinstance(live, type) and (self._lists_subclasses or _watches(live))
            if (name in surface.decorators or derived) and self._still_counts(statement, live):
                yield statement
        for one in self._calls_to_register:  # on an abstract class, or on a function or method that dispatches on types
            function = one.node.value.func  # type: ignore[attr-defined]
            if root_name(function) == name and hasattr(value_of(self.live, function.value), "register"):
                yield one

    def _still_counts(self, statement: Statement, live: Any) -> bool:
        """False for a registered definition that a later one of the same name replaced in the registry."""
        name = getattr(statement.node, "name", "_")
        if name == "_" or self.origin(name) is statement:
            return True
        return any(
            getattr(member, "__name__", None) == name and defines(statement.piece, member) for member in members(live)
        )


def _watches(cls: type) -> bool:
    return any(
        parent.__module__ == "__main__"
        and ("__init_subclass__" in vars(parent) or type(parent).__module__ == "__main__")
        for parent in cls.__mro__
    )

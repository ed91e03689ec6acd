"""The order in which statements ran, and which of them gave a name its value at any moment of it."""

from __future__ import annotations

import types
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from elasticdl_nb.capture.cells import Piece
from elasticdl_nb.capture.live import MISSING, defines, members
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.surface import CHANGING_METHODS, OBSERVING_METHODS
from elasticdl_nb.capture.uses import LAZY_ANNOTATIONS, places_of

END = 1 << 60  # "after everything ran"

# Calls on imported modules that change how models are built or computed.
MODULE_SETTINGS = frozenset(
    [
        "set_floatx",
        "set_epsilon",
        "set_image_data_format",
        "set_dtype_policy",
        "set_global_policy",
        "set_random_seed",
        "enable_numpy_behavior",
        "register_keras_serializable",
    ]
)


class Trace:
    """Statements in the order of execution, together with the namespace that they left behind."""

    def __init__(self, pieces: Iterable[Piece], namespace: Mapping[str, Any]) -> None:
        self.statements: list[Statement] = []
        lazy_annotations = False
        for index, piece in enumerate(pieces):
            # IPython keeps what a cell imports from __future__ for the cells after it.
            lazy_annotations = lazy_annotations or piece.text == LAZY_ANNOTATIONS
            self.statements.append(Statement(index, piece, lazy_annotations))
        self.namespace = namespace
        self._effects: dict[int, frozenset[str]] = {}
        self._touches: dict[str, list[int]] = {}
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
    def _lists_subclasses(self) -> bool:
        return any("__subclasses__" in statement.text for statement in self.statements)

    @cached_property
    def _changers(self) -> dict[str, list[int]]:
        changers: dict[str, list[int]] = {}
        for statement in self.statements:
            surface = statement.surface
            roots = surface.deletes | surface.assigns_into | {root for root, _ in surface.method_calls}
            for name in roots | self.effects(statement) | surface.decorators | surface.bases:
                changers.setdefault(name, []).append(statement.index)
        return changers

    def binders(self, name: str) -> list[Statement]:
        """Every statement that gives the name a value, oldest first."""
        return [self.statements[index] for index in self._binders.get(name, ())]

    def origin(self, name: str, at: int = END) -> Statement | None:
        """The statement that gave the name the value it has just before statement `at`, or None."""
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

    def effects(self, statement: Statement) -> frozenset[str]:
        """Globals that functions of the notebook change when the statement calls them."""
        index = statement.index
        if index not in self._effects:
            self._effects[index] = frozenset()  # ends recursion
            changed = self._effects_of(statement.surface.calls, index, set())
            self._effects[index] = frozenset(changed | self._changed_arguments(statement))
        return self._effects[index]

    def _effects_of(self, calls: Iterable[str], at: int, seen: set[str]) -> set[str]:
        changed: set[str] = set()
        for name in calls:
            if name in seen or name not in self._binders:
                continue
            seen.add(name)
            function = self.origin(name, at)
            if function is not None and function.uses.late:
                changed |= function.uses.late_changes
                changed |= self._effects_of(function.uses.late_calls, at, seen)
        return changed

    def _changed_arguments(self, statement: Statement) -> set[str]:
        return {
            name
            for function, place, name in statement.surface.arguments
            if place in self._changed_places(function, statement.index, frozenset())
        }

    def _changed_places(self, function: str, at: int, seen: frozenset[str]) -> frozenset[int | str]:
        """By which positions and keywords the function, called at `at`, takes objects that it changes."""
        definition = self.origin(function, at)
        if definition is None:
            return frozenset({0}) if function == "next" else frozenset()
        uses = definition.uses
        if not uses.passed_on or function in seen:
            return uses.changed_parameters
        seen |= {function}
        passed = {name for called, place, name in uses.passed_on if place in self._changed_places(called, at, seen)}
        return uses.changed_parameters | places_of(definition.node, passed)

    def touches(self, name: str) -> list[int]:
        """Indexes of the statements that bind the name or change its object, ascending."""
        if name not in self._touches:
            found = set(self._binders.get(name, ()))
            live = self.live(name)
            for alias in (name, *self._aliases(name, live)):
                found |= {
                    index
                    for index in self._changers.get(alias, ())
                    if self._changes(self.statements[index], alias, live)
                }
            self._touches[name] = sorted(found)
        return self._touches[name]

    def _aliases(self, name: str, live: Any) -> list[str]:
        """Other names that an object of the notebook's own classes has."""
        if isinstance(live, type) or type(live).__module__ != "__main__":
            return []
        return [other for other in self._binders if other != name and self.live(other) is live]

    def changes(self, name: str, start: int, end: int) -> list[Statement]:
        """Statements after `start` and before `end` that change the object of the name without binding it."""
        live = self.live(name)
        between = [self.statements[index] for index in self.touches(name) if start < index < end]
        return [one for one in between if name not in one.binds and self._still_counts(one, live)]

    def settle(self, name: str, at: int) -> int:
        """Return END if the name means now what it meant just before statement `at`; otherwise `at`."""
        touches = self.touches(name)
        return END if not touches or touches[-1] < at else at

    def last_touch(self, name: str) -> int:
        """Index of the last statement that bound or changed the name; -1 if none did."""
        touches = self.touches(name)
        return touches[-1] if touches else -1

    def _changes(self, statement: Statement, name: str, live: Any) -> bool:
        surface = statement.surface
        if name in surface.deletes or name in surface.assigns_into or name in self.effects(statement):
            return True
        methods = {method for root, method in surface.method_calls if root == name}
        if isinstance(live, types.ModuleType):
            return bool(methods & MODULE_SETTINGS) or (bool(methods) and "custom_objects" in statement.text)
        if name in surface.decorators and methods:
            return True
        if name in surface.bases and isinstance(live, type):
            return self._lists_subclasses or any(
                parent.__module__ == "__main__" and ("__init_subclass__" in vars(parent) or _has_own_meta(parent))
                for parent in live.__mro__
            )
        if methods & CHANGING_METHODS:
            return True
        bare = {method for root, method in surface.bare_calls if root == name}
        ours = isinstance(live, type) or type(live).__module__ == "__main__"
        return ours and bool(bare - OBSERVING_METHODS)

    def _still_counts(self, statement: Statement, live: Any) -> bool:
        """False for a registered definition that a later one of its name has pushed out of the registry."""
        name = getattr(statement.node, "name", "_")
        if not statement.is_definition or name == "_" or self.origin(name) is statement:
            return True
        return any(
            getattr(member, "__name__", None) == name and defines(statement.piece, member) for member in members(live)
        )


def _has_own_meta(cls: type) -> bool:
    return type(cls).__module__ == "__main__"

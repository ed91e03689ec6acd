"""From the names that are wanted to the statements and values that make them: a slice through what was executed.

Every use of a name belongs to a moment. A base class, a decorator or a default was looked up while its statement ran;
a name inside a function is looked up when the function is called, that is, after everything ran. Statements are kept in
the order in which they ran, so each use finds the same version of the name that it found in the notebook.
"""

from __future__ import annotations

import ast
import builtins
import sys
import types
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.capture import credentials, values
from elasticdl_nb.capture.advice import (
    changed_defaults,
    is_constant_tensor,
    lookups_by_text,
    lost_training,
    stale_bases,
    was_fitted,
)
from elasticdl_nb.capture.live import MISSING, PYTHON_BUILTINS, defines, reference
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import END, Trace
from elasticdl_nb.runtime.errors import did_you_mean

MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__builtins__", "__annotations__"}
)
SHELL_NAMES = frozenset({"get_ipython", "exit", "quit"})
SHELL_HISTORY = frozenset({"In", "Out", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh"})
DATA_CURE = "data is not packaged; pass it with --data, write it to a file, or keep a small constant instead"


@dataclass(frozen=True)
class Value:
    """A constant or reference that stands in for the statements that made it: placed after statement `index`."""

    index: int
    name: str
    text: str
    cell: int
    place: str
    is_import: bool = False


@dataclass
class Closure:
    """Everything that the wanted names need."""

    statements: dict[int, Statement] = field(default_factory=dict)
    values: dict[str, Value] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def close_over(trace: Trace, names: list[str]) -> Closure:
    """Return the closure of `names`; what cannot be packaged is listed in its `problems`."""
    search = _Search(trace)
    for name in names:
        search.need(name, END, "")
    search.finish()
    return search.result


class _Search:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.result = Closure()
        self._seen: set[tuple[str, int]] = set()
        self._called: set[tuple[str, int]] = set()
        self._waiting: list[tuple[str, int, str]] = []
        self._refused: set[str] = set()
        self._written: dict[int, tuple[str, int]] = {}  # id of a mutable value -> the name it is written under, where

    def need(self, name: str, at: int, used_by: str) -> None:
        """Ask for the value that the name had just before statement `at`."""
        at = self.trace.settle(name, at)
        if (name, at) not in self._seen:
            self._seen.add((name, at))
            self._waiting.append((name, at, used_by))

    def finish(self) -> None:
        """Work until nothing is asked for any more."""
        while self._waiting:
            name, at, used_by = self._waiting.pop(0)
            if name in self._refused:
                continue
            origin = self.trace.origin(name, at)
            if origin is None:
                self._from_outside(name, used_by)
                written = self.result.values.get(name)
                if written is None or written.is_import:  # a value is written as it is now
                    self._choose_changes(name, -1, at, used_by)
            elif at == END:
                self._as_it_is_now(name, origin, used_by)
            else:
                self._replay(name, origin, at, used_by)
        kept = list(self.result.statements.values())
        self.result.warnings += [
            *stale_bases(self.trace, kept),
            *lost_training(self.trace, kept),
            *lookups_by_text(kept),
            *changed_defaults(self.trace, kept),
        ]

    # ------------------------------------------------------------------ how one name is made

    def _as_it_is_now(self, name: str, origin: Statement, used_by: str) -> None:
        live = self.trace.live(name)
        if live is MISSING:
            if name not in PYTHON_BUILTINS:
                place = origin.piece.place
                self._refuse(name, used_by, f"was defined in {place} but no longer exists (deleted); run {place} again")
        elif origin.star_module:
            self._from_star(name, origin, live)
        elif origin.is_definition:
            if not self._is_another_function(name, origin, live, used_by):
                self._replay(name, origin, END, used_by)
        elif origin.is_import:
            self._import(name, origin, used_by)
        else:
            self._constant(name, origin, live, used_by)

    def _constant(self, name: str, origin: Statement, live: Any, used_by: str) -> None:
        place = origin.piece.place
        secret = credentials.credential_in(name, live)
        if secret and credentials.reads_environment(origin.node):
            self.result.warnings.append(f"{name} is read from the environment: pass it to the job with --envs")
            self._replay(name, origin, END, used_by)
        elif secret or (isinstance(live, str) and "getpass" in origin.text):
            self._refuse(
                name,
                used_by,
                f"looks like a credential ({secret or name}, {place}): it is not written into the package; "
                f"read it from os.environ inside the function and pass it with --envs",
            )
        elif (text := values.write_value(live)) is not None:
            self._write_value(name, origin, live, text)
        elif values.data_kind(live) and not is_constant_tensor(self.trace, origin, live):
            kind = values.data_kind(live)
            self._refuse(name, used_by, f"is {_article(kind)} built in {place}: {DATA_CURE}")
        elif values.too_large(live):
            self._refuse(
                name, used_by, f"is a {type(live).__name__} of {len(live)} items built in {place}: {DATA_CURE}"
            )
        elif values.handle_kind(live):
            self._refuse(
                name,
                used_by,
                f"is {values.handle_kind(live)} made in {place}: make it inside the function that uses it",
            )
        elif fitted := was_fitted(self.trace, name, origin, live):
            self._refuse(
                name,
                used_by,
                f"is {_article(type(live).__name__)} that was fitted in {fitted}: what it learned is not packaged; "
                f"keep the numbers it learned as constants",
            )
        else:
            self._replay(name, origin, END, used_by)

    def _write_value(self, name: str, origin: Statement, live: Any, text: str) -> None:
        index = self.trace.last_touch(name)
        place = self.trace.statements[index].piece
        node = origin.node
        alike = self._written.get(id(live)) if isinstance(live, (list, dict, set)) else None
        if alike:
            self._put(Value(max(index, alike[1]), name, f"{name} = {alike[0]}", place.cell, place.place))
            return
        if isinstance(live, (list, dict, set)):
            self._written[id(live)] = (name, index)
        single = isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and index == origin.index:
            annotated = isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
            if (single or annotated) and values.is_literal_of(node.value, live):
                self._choose(origin, name)
                return
        self._put(Value(index, name, f"{name} = {text}", place.cell, place.place))

    def _replay(self, name: str, origin: Statement, at: int, used_by: str) -> None:
        """Keep the statement that made the value, and those that changed its object since."""
        if self._choose(origin, used_by or name):
            self._choose_changes(name, origin.index, at, used_by or name)

    def _import(self, name: str, origin: Statement, used_by: str) -> None:
        for other in self.trace.binders(name):
            # `import a.b` and `import a.c` both add to what `a` means.
            if other is origin or (isinstance(other.node, ast.Import) and "." in other.node.names[0].name):
                self._choose(other, used_by)
        self._choose_changes(name, -1, END, used_by)

    def _from_star(self, name: str, origin: Statement, live: Any) -> None:
        if isinstance(live, types.ModuleType) and not hasattr(sys.modules[origin.star_module or ""], name):
            return
        text = f"from {origin.star_module} import {name}"
        self._put(Value(origin.index, name, text, origin.piece.cell, origin.piece.place, is_import=True))

    def _from_outside(self, name: str, used_by: str) -> None:
        """A name that no executed statement binds: a builtin, or something put into the namespace."""
        live = self.trace.live(name)
        if name in MODULE_NAMES or _is_builtin(name, live):
            return
        if name in SHELL_NAMES and used_by:
            self.result.warnings.append(f"{name} (used by {used_by}) exists in notebooks only")
            return
        if name in SHELL_HISTORY:
            self._refuse(name, used_by, "exists in notebooks only; assign the value to a name of its own")
            return
        if live is MISSING and name != "display":  # `display` is put among the builtins while a cell runs
            guess = did_you_mean(name, [one for one in self.trace.namespace if not one.startswith("_")])
            self._refuse(name, used_by, f"is not defined; run the cell that defines it.{guess}")
            return
        text = "from IPython.display import display" if name == "display" else reference(name, live)
        if text is not None:
            self._put(Value(-1, name, text, 0, "", is_import=True))
        elif credentials.credential_in(name, live):
            self._refuse(name, used_by, "looks like a credential: read it from os.environ and pass it with --envs")
        elif (written := values.write_value(live)) is not None:
            index = self.trace.last_touch(name)
            self._put(Value(index, name, f"{name} = {written}", 0, "the notebook's variables"))
        elif values.data_kind(live):
            self._refuse(name, used_by, f"is {_article(values.data_kind(live))}: {DATA_CURE}")
        else:
            self._refuse(
                name,
                used_by,
                f"is {_article(type(live).__name__)} that no executed cell defines (made with exec, globals() or an "
                f"extension); define it in a cell",
            )

    # ------------------------------------------------------------------ keeping statements

    def _choose(self, statement: Statement, used_by: str) -> bool:
        """Keep the statement and ask for what it uses; False if it cannot be run elsewhere."""
        if statement.index in self.result.statements:
            return True
        if not self._can_run(statement):
            return False
        self.result.statements[statement.index] = statement
        uses, surface, index = statement.uses, statement.surface, statement.index
        owner = _owner(statement, used_by)
        for name, where in uses.now.items():
            if name not in statement.binds or self.trace.origin(name, index) is not None:
                self.need(name, index, where or owner)
        for name, where in uses.late.items():
            self.need(name, END, where or owner)
        for name in uses.optional:
            if self.trace.live(name) is not MISSING or name in PYTHON_BUILTINS:
                self.need(name, END, owner)
        for name in surface.calls:
            self._need_for_call(name, index)
        for name in sorted(statement.binds):
            if name in self.trace.effects(statement):  # `global` inside a function that the statement calls
                self.need(name, index, owner)
        return True

    def _need_for_call(self, name: str, at: int) -> None:
        """A function that runs at `at` looks its globals up then, so they are needed as they were."""
        if (name, at) in self._called:
            return
        self._called.add((name, at))
        function = self.trace.origin(name, at)
        if function is None or function.is_import:
            return
        for used, where in function.uses.late.items():
            if self.trace.origin(used, at) is not None:
                self.need(used, at, where or name)
        for called in function.uses.late_calls:
            self._need_for_call(called, at)

    def _choose_changes(self, name: str, start: int, end: int, used_by: str) -> None:
        live = self.trace.live(name)
        for change in self.trace.changes(name, start, end):
            if name in change.surface.deletes:
                continue
            if isinstance(live, types.ModuleType) and "environ" in change.text:
                self.result.warnings.append(
                    f"{change.piece.place} sets environment variables: they are not packaged; pass them with --envs"
                )
            elif not self._is_call_with_data(name, change):
                self._choose(change, used_by or name)

    def _is_call_with_data(self, name: str, change: Statement) -> bool:
        """A call of the notebook's own function on data, which happens to change `name` too, is no definition."""
        direct = name in change.surface.changes or change.is_definition
        return not direct and any(values.data_kind(self.trace.live(used)) for used in change.uses.now)

    def _can_run(self, statement: Statement) -> bool:
        place = statement.piece.place
        names = ", ".join(sorted(statement.binds)) or statement.text.split("\n")[0]
        if "get_ipython" in statement.uses.now:
            problem = f"is the result of a magic or shell command in {place}; assign a plain value instead"
        elif statement.surface.awaits:
            problem = f"is made with a top-level await in {place}; assign a plain value, or await inside a function"
        elif secret := next(credentials.written_credentials(statement.node, statement.text), None):
            problem = (
                f"spells out what looks like a credential ({secret}, {place}); read it from os.environ and pass it "
                f"with --envs"
            )
        else:
            return True
        self._refuse(names, "", problem)
        return False

    def _is_another_function(self, name: str, origin: Statement, live: Any, used_by: str) -> bool:
        plain = isinstance(origin.node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not origin.node.decorator_list
        replaced = plain and isinstance(live, types.FunctionType) and defines(origin.piece, live) is False
        if replaced:
            self._refuse(
                name,
                used_by,
                f"is not the function that {origin.piece.place} defines (replaced with exec, globals() or an "
                f"extension); define it in a cell",
            )
        return replaced

    def _put(self, value: Value) -> None:
        self.result.values[value.name] = value
        if value.is_import:
            return
        for alias in values.modules_named(value.text):
            text = f"import {values.MODULES[alias]} as {alias}"
            self.result.values[alias] = Value(-1, alias, text, 0, "", is_import=True)

    def _refuse(self, name: str, used_by: str, problem: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            user = f" (used by {used_by})" if used_by and used_by != name else ""
            self.result.problems.append(f"{name!r}{user} {problem}")


def _is_builtin(name: str, live: Any) -> bool:
    # IPython's own `open` wraps Python's.
    live = getattr(live, "__wrapped__", live)
    return name in PYTHON_BUILTINS and (live is MISSING or live is getattr(builtins, name))


def _owner(statement: Statement, used_by: str) -> str:
    name = getattr(statement.node, "name", None)
    return name or next(iter(sorted(statement.surface.binds)), used_by)


def _article(kind: str | None) -> str:
    kind = kind or "object"
    return f"{'an' if kind[0].lower() in 'aeiou' or kind.startswith('nd') else 'a'} {kind}"

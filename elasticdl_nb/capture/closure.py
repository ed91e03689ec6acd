"""Finds the statements and values that make the wanted names: a slice of the code that was executed.

Functions, classes and imports are represented by the statements that made them; everything else by its current value.
A base class, a decorator or a default was looked up while its statement ran, so it may be an older version than the
current one. A name inside a function is looked up when the function is called, that is, after everything has run.
"""

from __future__ import annotations

import ast
import builtins
import functools
import sys
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from elasticdl_nb.capture import credentials, values
from elasticdl_nb.capture.advice import lookups_by_text, settings_of_environment, stale_bases
from elasticdl_nb.capture.dependencies import is_local_module
from elasticdl_nb.capture.extract import inner_definition
from elasticdl_nb.capture.live import MISSING, PYTHON_BUILTINS, defines, function_of, reference
from elasticdl_nb.capture.overrides import overrides, same_meaning, same_plain
from elasticdl_nb.capture.roots import Made, Root, Roots
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import END, Trace
from elasticdl_nb.runtime.errors import did_you_mean

MODULE_NAMES = frozenset(
    {"__name__", "__file__", "__doc__", "__package__", "__spec__", "__builtins__", "__annotations__"}
)
SHELL_NAMES = frozenset({"get_ipython", "exit", "quit"})
SHELL_HISTORY = frozenset({"In", "Out", "_", "__", "___", "_i", "_ii", "_iii", "_ih", "_oh", "_dh"})


@dataclass(frozen=True)
class Use:
    """A kept statement looks up a name while it runs; `called` if a call may also change the object."""

    statement: Statement
    name: str
    at: int
    called: bool = False


@dataclass(frozen=True)
class Given:
    """A name that is bound by an import that capture adds."""

    name: str
    text: str


@dataclass
class Closure:
    """Everything that the wanted names need."""

    statements: dict[tuple[int, int], Statement] = field(default_factory=dict)
    imports: dict[str, Given] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Search:
    """Finds everything that names need; the `problems` of its `result` list what cannot be packaged."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.result = Closure()
        self.roots = Roots(trace, self._asked, self.refuse)
        self._seen: set[tuple[str, int]] = set()
        self._called: set[tuple[str, int]] = set()
        self._waiting: list[tuple[str, int, str]] = []
        self._refused: set[str] = set()

    def need(self, name: str, at: int, used_by: str) -> None:
        """Ask for the value that the name had just before statement `at`."""
        at = self.trace.settle(name, at)
        if (name, at) not in self._seen:
            self._seen.add((name, at))
            self._waiting.append((name, at, used_by))

    def needs_now(self, name: str) -> bool:
        """Whether something needs the name's current value, rather than an earlier one."""
        return (name, END) in self._seen

    def _asked(self, name: str, used_by: str) -> None:
        self.need(name, END, used_by)

    def finish(self) -> None:
        """Continue until there are no more requests."""
        self._until_done()
        kept = list(self.result.statements.values())
        found = [*stale_bases(self.trace, kept), *lookups_by_text(kept), *settings_of_environment(self.trace, kept)]
        self.result.warnings += [one for one in found if one not in self.result.warnings]

    def split(self, lines: Iterable[Made]) -> bool:
        """Make one of the values that need each other first, and fill it at the end; False if none allows that."""
        for line in lines:
            if any(root.refill for root in line.roots):
                continue
            for root in line.roots:
                if not root.owner and self.roots.can_refill(root):
                    self._refill(root)
                    self._until_done()
                    return True
        return False

    def _until_done(self) -> None:
        while True:
            self._work()
            if not (self.roots.look_at_new() or self._waiting or self._changed_by_statements()):
                return

    def _work(self) -> None:
        while self._waiting:
            name, at, used_by = self._waiting.pop(0)
            if name in self._refused:
                continue
            origin = self.trace.origin(name, at)
            if origin is None:
                self._from_outside(name, used_by)
            elif at == END:
                self._as_it_is_now(name, origin, used_by)
            else:
                self._choose(origin, used_by or name)

    def _changed_by_statements(self) -> bool:
        """Mark values that kept statements change when they run: they are made first, and filled at the end."""
        found = False
        for use in self.result.uses:
            root = self.roots.by_name.get(use.name)
            if root is not None and use.called and use.at == END and not root.refill and self.roots.can_refill(root):
                self._refill(root)
                found = True
        return found

    def _refill(self, root: Root) -> None:
        root.refill = True
        if root.origin is not None and _makes_anew(root.origin) and self._choose(root.origin, root.target):
            root.made_by_statement = True

    # ------------------------------------------------------------------ how one name is made

    def _as_it_is_now(self, name: str, origin: Statement, used_by: str) -> None:
        live = self.trace.live(name)
        if live is MISSING:
            if name not in PYTHON_BUILTINS:
                place = origin.piece.place
                self.refuse(name, used_by, f"was defined in {place} but no longer exists (deleted); run {place} again")
        elif origin.star_module:
            if not self._is_of_an_earlier_import(name, origin, live, used_by):
                self._from_star(name, origin, live)
        elif origin.is_definition:
            if not self._is_another_function(name, origin, live, used_by):
                self._choose_definition(name, origin, live, used_by)
        elif origin.is_import and (isinstance(live, types.ModuleType) or not self.roots.code.is_ours(live)):
            if not self._is_of_an_earlier_import(name, origin, live, used_by):
                self._import(name, origin, used_by)
        else:
            self._value(name, origin, live, used_by)

    def _choose_definition(self, name: str, origin: Statement, live: Any, used_by: str) -> None:
        function = function_of(live)
        own = function.__globals__ if function is not None and function.__module__ == "__main__" else {}
        if own and own is not self.trace.namespace and function is not None:
            for used in sorted(origin.uses.late):
                then, now = own.get(used, MISSING), self.trace.live(used)
                if MISSING is then or MISSING is now or then is now:
                    continue  # compared one by one, as arrays and frames have an `==` of their own
                if not same_plain(then, now):
                    place = origin.piece.place
                    self.refuse(
                        name, used_by, f"uses {used} as {place} left it, but the notebook has changed {used} since; "
                        f"run {place} again, with %run -i",
                    )  # fmt: skip
                    return
        if isinstance(live, functools._lru_cache_wrapper) and live.cache_info().currsize:
            self.result.warnings.append(f"the results that {name} has cached stay in the notebook")
        if self._choose(origin, used_by or name):
            for statement in self.trace.registrations(name):
                self._choose(statement, used_by or name)
            for target, value in overrides(self.trace, origin, name, live):
                self.roots.add(Root(target, value, origin.index, origin.piece, origin, owner=name))

    def _value(self, name: str, origin: Statement, live: Any, used_by: str) -> None:
        if isinstance(live, (types.FunctionType, type)) and self.roots.code.is_ours(live):
            inner = inner_definition(origin, name, live)
            if inner is None:  # `f = f`, directly or through other names
                made = (one for one in reversed(self.trace.binders(name)) if one.is_definition)
                inner = next((one for one in made if defines(one.piece, live)), None)
            if inner is not None and live.__qualname__ == name:
                self._choose_definition(name, inner, live, used_by)
                return
        if isinstance(live, types.ModuleType) and self._is_module_of_its_own(name, live, used_by):
            return
        if self._is_credential(name, origin, live, used_by):
            return
        if _is_own_source(self.trace, origin, name, live):
            if self._choose(origin, used_by or name):
                for target, value in overrides(self.trace, origin, name, live):
                    self.roots.add(Root(target, value, origin.index, origin.piece, origin, owner=name))
            return
        self.roots.add(Root(name, live, self.trace.last_binding(name), origin.piece, origin, used_by=used_by))

    def _is_module_of_its_own(self, name: str, live: types.ModuleType, used_by: str) -> bool:
        """A module that no import statement bound: loaded from a file, or made by hand."""
        file = getattr(live, "__file__", None)
        if sys.modules.get(live.__name__) is not live and not file:
            self.refuse(
                name, used_by,
                "is a module made by hand, which cannot be imported; write it to a file with %%writefile and import it",
            )  # fmt: skip
            return True
        self.result.imports[name] = Given(name, reference(name, live) or f"import {name}")
        return True

    def _is_credential(self, name: str, origin: Statement, live: Any, used_by: str) -> bool:
        place = origin.piece.place
        secret = credentials.credential_in(name, live)
        if secret and credentials.HARMLESS in origin.text + origin.rest_of_line:
            return False
        if secret and credentials.reads_environment(origin.node):
            self.result.warnings.append(f"{name} is read from the environment: pass it to the job with --envs")
            self._choose(origin, used_by or name)
            return True
        if secret or (isinstance(live, str) and "getpass" in origin.text):
            self.refuse(
                name,
                used_by,
                f"looks like a credential ({secret or name}, {place}): it is not written to the package; "
                f"read it from os.environ inside the function and pass it with --envs{credentials.HARMLESS_CURE}",
            )
            return True
        return False

    def _import(self, name: str, origin: Statement, used_by: str) -> None:
        for other in self.trace.binders(name):
            # `import a.b` and `import a.c` both add to what `a` means.
            if other is origin or (isinstance(other.node, ast.Import) and "." in other.node.names[0].name):
                self._choose(other, used_by)
        for statement in self.trace.registrations(name):
            if not isinstance(self.trace.live(name), types.ModuleType):
                self._choose(statement, used_by or name)

    def _is_of_an_earlier_import(self, name: str, origin: Statement, live: Any, used_by: str) -> bool:
        """Whether a module now has something else under a name that was imported from it: it was reloaded, or set."""
        node = origin.node
        module = sys.modules.get(node.module or "") if isinstance(node, ast.ImportFrom) and not node.level else None
        imported = name if origin.star_module else getattr(node, "names", [types])[0].name
        now = getattr(module, imported, MISSING)
        if module is None or now is MISSING or same_meaning(live, now):
            return False
        if not is_local_module(module) and not (values.is_immutable(live) and values.is_immutable(now)):
            return False
        if isinstance(live, (types.FunctionType, type)):
            self.refuse(
                name, used_by, f"is not what {module.__name__} defines now, but what {origin.piece.place} imported "
                f"before that changed; import it again",
            )  # fmt: skip
        else:
            self._value(name, origin, live, used_by)
        return True

    def _from_star(self, name: str, origin: Statement, live: Any) -> None:
        if isinstance(live, types.ModuleType) and not hasattr(sys.modules[origin.star_module or ""], name):
            return
        self.result.imports[name] = Given(name, f"from {origin.star_module} import {name}")

    def _from_outside(self, name: str, used_by: str) -> None:
        """A name that no executed statement binds: a builtin, or something that was put into the namespace."""
        live = self.trace.live(name)
        if name in MODULE_NAMES or _is_builtin(name, live) or name in self.roots.extracted:
            return
        if name in SHELL_NAMES and used_by:
            self.result.warnings.append(f"{name} (used by {used_by}) exists in notebooks only")
            return
        if name in SHELL_HISTORY:
            self.refuse(name, used_by, "exists in notebooks only; assign the value to another name")
            return
        if live is MISSING and hasattr(builtins, name) and name != "display":
            self.roots.add(Root(name, getattr(builtins, name), -1, None, None, used_by=used_by))
            return
        if live is MISSING and name != "display":  # IPython adds `display` to the builtins while a cell runs
            known = [one for one in self.trace.namespace if not one.startswith("_") and one not in PYTHON_BUILTINS]
            self.refuse(name, used_by, f"is not defined; run the cell that defines it.{did_you_mean(name, known)}")
            return
        text = "from IPython.display import display" if name == "display" else reference(name, live)
        if text is not None:
            self.result.imports[name] = Given(name, text)
        elif credentials.credential_in(name, live):
            self.refuse(name, used_by, "looks like a credential: read it from os.environ and pass it with --envs")
        elif isinstance(live, (types.FunctionType, type)):
            kind = "class" if isinstance(live, type) else "function"
            self.refuse(
                name,
                used_by,
                f"is a {kind} that no executed cell defines (made with exec, globals() or an extension); define it in "
                f"a cell",
            )
        else:
            self.roots.add(Root(name, live, -1, None, None, used_by=used_by))

    # ------------------------------------------------------------------ keeping statements

    def _choose(self, statement: Statement, used_by: str) -> bool:
        """Keep the statement and request what it uses; False if it cannot run elsewhere."""
        key = (statement.index, statement.node.lineno)
        if key in self.result.statements:
            return True
        if not self._can_run(statement):
            return False
        self.result.statements[key] = statement
        uses, surface, index = statement.uses, statement.surface, statement.index
        owner = _owner(statement, used_by)
        for name, where in uses.now.items():
            if name not in statement.binds or self.trace.origin(name, index) is not None:
                self._use(statement, name, where or owner, called=name in surface.decorators)
        for name, where in uses.late.items():
            self.need(name, END, where or owner)
        for name in uses.optional:
            if self.trace.live(name) is not MISSING or name in PYTHON_BUILTINS:
                self.need(name, END, owner)
        for name in surface.calls:
            self._need_for_call(statement, name, index)
        return True

    def _use(self, statement: Statement, name: str, used_by: str, called: bool = False) -> None:
        self.need(name, statement.index, used_by)
        self.result.uses.append(Use(statement, name, self.trace.settle(name, statement.index), called))

    def _need_for_call(self, statement: Statement, name: str, at: int) -> None:
        """A function that runs at `at` looks up its globals then, so it needs them as they were."""
        if (name, statement.index) in self._called:
            return
        self._called.add((name, statement.index))
        function = self.trace.origin(name, at)
        if function is None or function.is_import or not function.is_definition:
            return
        for used, where in function.uses.late.items():
            if self.trace.origin(used, at) is not None:
                self._use(statement, used, where or name, called=True)
        for called in function.uses.late_calls:
            self._need_for_call(statement, called, at)

    def _can_run(self, statement: Statement) -> bool:
        place = statement.piece.place
        names = ", ".join(sorted(statement.binds)) or statement.text.split("\n")[0]
        if "get_ipython" in statement.uses.now:
            problem = f"is the result of a magic or shell command in {place}; assign a plain value instead"
        elif statement.surface.awaits:
            problem = f"is made by a top-level await in {place}; assign a plain value, or await inside a function"
        elif secret := next(credentials.written_credentials(statement.node, statement.text), None):
            problem = (
                f"spells out what looks like a credential ({secret}, {place}); read it from os.environ and pass it "
                f"with --envs{credentials.HARMLESS_CURE}"
            )
        else:
            return True
        self.refuse(names, "", problem)
        return False

    def _is_another_function(self, name: str, origin: Statement, live: Any, used_by: str) -> bool:
        plain = isinstance(origin.node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not origin.node.decorator_list
        replaced = plain and isinstance(live, types.FunctionType) and defines(origin.piece, live) is False
        if replaced or (plain and not callable(live)):
            self.refuse(
                name,
                used_by,
                f"is not the function that {origin.piece.place} defines (replaced with exec, globals() or an "
                f"extension); define it in a cell",
            )
            return True
        return False

    def refuse(self, name: str, used_by: str, problem: str) -> None:
        """Report that a name cannot be packaged, once."""
        if name not in self._refused:
            self._refused.add(name)
            user = f" (used by {used_by})" if used_by and used_by != name else ""
            self.result.problems.append(f"{name!r}{user} {problem}")


def _is_own_source(trace: Trace, origin: Statement, name: str, live: Any) -> bool:
    """Whether the statement that bound a name is its source: a literal, a lambda, or another name for library code."""
    node = origin.node
    if (
        not isinstance(node, (ast.Assign, ast.AnnAssign))
        or node.value is None
        or trace.last_binding(name) != origin.index
    ):
        return False
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if len(targets) != 1 or not isinstance(targets[0], ast.Name):
        return False
    if isinstance(node.value, ast.Lambda):
        return isinstance(live, types.FunctionType) and not live.__closure__ and _is_lambda_of(node.value, live)
    if isinstance(node.value, ast.Call) and isinstance(live, type):  # namedtuple(…), type(…), make_dataclass(…)
        maker = _dotted(trace, node.value.func, origin.index)
        maker = getattr(builtins, getattr(node.value.func, "id", ""), maker)
        return "<locals>" not in live.__qualname__ and getattr(maker, "__module__", None) not in (None, "__main__")
    if isinstance(node.value, (ast.Name, ast.Attribute)):
        return isinstance(live, (types.BuiltinFunctionType, type, types.FunctionType, types.ModuleType)) and (
            _dotted(trace, node.value, origin.index) is live
        )
    if type(live).__module__ in ("typing", "typing_extensions"):  # a type variable, an alias, a new type
        return True
    return values.is_immutable(live) and values.is_literal_of(node.value, live)


def _is_lambda_of(node: ast.Lambda, live: types.FunctionType) -> bool:
    return live.__name__ == "<lambda>" and live.__code__.co_firstlineno == node.lineno


def _dotted(trace: Trace, node: ast.expr, at: int) -> Any:
    if isinstance(node, ast.Name):
        return trace.live(node.id) if trace.settle(node.id, at) == END else MISSING
    if isinstance(node, ast.Attribute):
        return getattr(_dotted(trace, node.value, at), node.attr, MISSING)
    return MISSING


def _makes_anew(statement: Statement) -> bool:
    """Whether all that the statement does is make the one object that it binds, without reading data."""
    node = statement.node
    return (isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name)) or (
        isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None
    )


def _is_builtin(name: str, live: Any) -> bool:
    # IPython replaces `open` with a wrapper around Python's.
    live = getattr(live, "__wrapped__", live)
    return name in PYTHON_BUILTINS and (live is MISSING or live is getattr(builtins, name))


def _owner(statement: Statement, used_by: str) -> str:
    name = getattr(statement.node, "name", None)
    return name or next(iter(sorted(statement.surface.binds)), used_by)

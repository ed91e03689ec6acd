"""The values in a package: each is written as source, or to a file, its own or one that it shares."""

from __future__ import annotations

import ast
import re
import sys
import types
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from elasticdl_nb.capture import values
from elasticdl_nb.capture.cells import Piece
from elasticdl_nb.capture.credentials import written_credentials
from elasticdl_nb.capture.dependencies import is_local_module
from elasticdl_nb.capture.extract import as_source, find_function
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.overrides import same_plain
from elasticdl_nb.capture.state import files, writing
from elasticdl_nb.capture.state.code import CodeWriter
from elasticdl_nb.capture.state.rebuilding import CodePath
from elasticdl_nb.capture.statements import Statement
from elasticdl_nb.capture.trace import Trace
from elasticdl_nb.capture.uses import uses_of

DATA_CURE = "pass data with --data, or read it inside the function that uses it"
HANDLE_CURE = "make it inside the function that uses it"


@dataclass(eq=False)
class Root:
    """A value with a name, or an `owner.attribute`, in `target`; statement `index` bound it."""

    target: str
    live: Any
    index: float
    piece: Piece | None
    origin: Statement | None
    owner: str = ""
    used_by: str = ""
    # Made early and filled at the end, as statements of the package change it when they run.
    refill: bool = False
    made_by_statement: bool = False
    source: values.Source | None = None
    survey: writing.Survey | None = None
    suffix: str = ""
    needs: set[str] = field(default_factory=set)

    @property
    def place(self) -> str:
        """Where it comes from, as messages say it."""
        return self.piece.place if self.piece else "the notebook's variables"

    @property
    def held(self) -> dict[int, Any]:
        """The new objects that it makes, by the id of the originals."""
        if self.survey is not None:
            return self.survey.held
        if self.source is not None:
            return self.source.held
        return {} if values.is_immutable(self.live) else {id(self.live): self.live}


@dataclass(eq=False)
class Made:
    """A line of the package that makes values: `needs` are names that must exist before, `binds` those it defines."""

    index: float
    roots: list[Root]
    text: str
    binds: frozenset[str]
    needs: frozenset[str]
    modules: dict[str, str]
    file: str = ""
    write: Callable[[BinaryIO], None] | None = None
    last: bool = False

    @property
    def piece(self) -> Piece | None:
        """Where it comes from."""
        return self.roots[0].piece if self.roots else None


class Roots:
    """All values of a package. `ask(name, used_by)` and `refuse(name, used_by, problem)` are methods of the search."""

    def __init__(self, trace: Trace, ask: Callable[[str, str], None], refuse: Callable[[str, str, str], None]) -> None:
        self.trace, self._ask, self._refuse = trace, ask, refuse
        self.plan: Any = None  # the `weights.Plan` for the Keras objects of all values
        self.code = CodeWriter(trace.namespace, self._asked, self._extract)
        self.all: list[Root] = []
        self.by_name: dict[str, Root] = {}
        self.by_id: dict[int, Root] = {}
        self.extracted: dict[str, Made] = {}
        self.calls: dict[str, str] = {}  # statements to add, each with the name that it needs
        self._extracted_codes: dict[types.CodeType, tuple[str, CodePath]] = {}
        self._looked_at = 0
        self._current: Root | None = None

    def add(self, root: Root) -> None:
        """Add a value; one that already has another name is looked up by that name."""
        self.all.append(root)
        if not root.target.isidentifier():
            return
        self.by_name[root.target] = root
        if not values.is_immutable(root.live) or isinstance(root.live, (types.FunctionType, type)):
            self.by_id.setdefault(id(root.live), root)
        if isinstance(root.live, (types.FunctionType, type)) and self.code.is_ours(root.live):
            name = self.code.find_name(root.live)
            if name == root.target or name is None:
                self.code.by_value.add(id(root.live))

    def look_at_new(self) -> bool:
        """Find out how the values added since the last call can be written; False if there were none."""
        fresh = self.all[self._looked_at :]
        self._looked_at = len(self.all)
        for root in fresh:
            self._look_at(root)
        return bool(fresh)

    def can_refill(self, root: Root) -> bool:
        """Whether the object may be made first and filled later."""
        kind = type(root.live)
        if isinstance(root.live, (list, dict, set)):
            return True
        own = self.code.is_ours(kind) or is_local_module(sys.modules.get(kind.__module__, types))
        return own and isinstance(getattr(root.live, "__dict__", None), dict)

    def _look_at(self, root: Root) -> None:
        self._current = root
        if root.live is MISSING:
            root.source = values.Source("")
            return
        root.source = self._as_source(root)
        if root.source is None:
            root.suffix = files.suffix_for(root.live)
            if root.suffix == ".pkl" or root.suffix == ".json":
                self._survey(root)
        self._current = None

    def _as_source(self, root: Root) -> values.Source | None:
        code = isinstance(root.live, (types.FunctionType, type)) and self.code.is_ours(root.live)
        if code:
            name = self._named(root.live, root)
            return values.Source(name, {name.partition(".")[0]}) if name else None
        if isinstance(root.live, (staticmethod, classmethod)):
            name = self._named(root.live.__func__, root)
            return values.Source(f"{type(root.live).__name__}({name})", {name.partition(".")[0]}) if name else None
        other = self.by_id.get(id(root.live))
        if other is not None and other is not root:
            return values.Source(other.target, {other.target})
        source = values.write_value(root.live, lambda value: self._named(value, root))
        if source is not None:
            for name in source.names:
                self._asked(name)
        return source

    def _named(self, value: Any, root: Root) -> str | None:
        """The package's name for an object inside a value."""
        other = self.by_id.get(id(value))
        if other is not None and other is not root and other.live is value:
            return other.target
        if isinstance(value, types.ModuleType):
            names = self.trace.namespace.items()
            name = next((one for one, live in names if live is value and not one.startswith("_")), None)
            if name is not None and self.trace.binders(name):
                self._asked(name)
                return name
            return None
        code = isinstance(value, (types.FunctionType, type)) or type(value).__name__ in (
            "_lru_cache_wrapper",
            "Function",
        )
        if not code or not self.code.is_ours(value):
            return None
        name = self.code.find_name(value)
        if name is not None:
            self._asked(name.partition(".")[0])
        return name

    def _survey(self, root: Root) -> None:
        try:
            root.survey = writing.survey(root.live, self.code)
        except writing.CannotTravel as error:
            path = writing.path_to(root.live, error.found, root.target)
            shown = f"is {error.kind}" if path == root.target else f"holds {error.kind}, as {path}"
            cure = DATA_CURE if "reads data" in error.kind else HANDLE_CURE
            self._refuse(root.target, root.used_by, f"{shown}, made in {root.place}: {cure}")

    def _asked(self, name: str) -> None:
        if self._current is not None:
            if name != self._current.target:
                self._current.needs.add(name)
            self._ask(name, self._current.target)

    def _extract(self, function: types.FunctionType) -> tuple[str, CodePath]:
        """Put the source of a function that no global name leads to into the package."""
        code = function.__code__
        if code in self._extracted_codes:
            return self._extracted_codes[code]
        found = find_function(self.trace.statements, function)
        if found is None:
            raise writing.CannotTravel(
                function, f"the function {function.__qualname__}, whose source is in no executed cell"
            )
        statement, node = found
        stem = "function" if function.__name__ == "<lambda>" else function.__name__.strip("_") or "function"
        taken = {*self.trace.namespace, *self.extracted}
        name = next(one for n in range(1, 1_000_000) if (one := f"_{stem}_{n}") not in taken)
        text = as_source(node, name, code.co_freevars)
        needed = uses_of(text, ast.parse(text).body[0], True)
        root = Root(name, function, statement.index, statement.piece, statement)
        self.extracted[name] = Made(statement.index, [root], text, frozenset({name}), frozenset(), {})
        for used in {**needed.late, **needed.now}:
            self._ask(used, function.__name__)
        path: CodePath = ((function.__name__, 0),) if code.co_freevars else ()
        self._extracted_codes[code] = name, path
        return name, path

    # ------------------------------------------------------------------ lines and files

    def made(self) -> list[Made]:
        """Return the lines that make all values, in no particular order."""
        called = [Made(1e9, [], text, frozenset(), frozenset({name}), {}) for text, name in self.calls.items()]
        return [*self.extracted.values(), *called, *(line for group in self._groups() for line in self._lines(group))]

    def _groups(self) -> list[list[Root]]:
        """Groups of values that share an object without a name: they are written together."""
        rewritten = [root for root in self.all if root.source is not None and root.live is not MISSING]
        for root in rewritten:  # names added since may refer to parts of it
            self._current = root
            root.source = self._as_source(root) or root.source
        self._current = None
        owner: dict[int, int] = {}
        parent = list(range(len(self.all)))

        def find(place: int) -> int:
            while parent[place] != place:
                place = parent[place]
            return place

        for place, root in enumerate(self.all):
            for key in root.held:
                if key in owner:
                    parent[find(place)] = find(owner[key])
                else:
                    owner[key] = place
        groups: dict[int, list[Root]] = {}
        for place, root in enumerate(self.all):
            groups.setdefault(find(place), []).append(root)
        return list(groups.values())

    def _lines(self, group: list[Root]) -> Iterable[Made]:
        """The lines that make a group. One value of it may be made first, and filled when the others are loaded."""
        group.sort(key=lambda root: (not root.refill, root.index))
        first = group[0] if group[0].refill else None
        if len(group) == 1 and first is None:
            return [self._single(group[0])]
        lines = [self._empty(first)] if first is not None and not first.made_by_statement else []
        if first is not None and len(group) == 1 and first.source is not None and type(first.live) in (list, dict, set):
            text = f"_load({first.source.text}, into={first.target})"
            needs = frozenset(first.source.names | {first.owner or first.target})
            return [*lines, Made(first.index, group, text, frozenset(), needs, first.source.modules, last=True)]
        for root in group:
            if root.survey is None:
                self._current = root
                self._survey(root)
        self._current = None
        name = "_".join(root.target for root in group[:3]) + ("_and_more" if len(group) > 3 else "")
        file = _file_name(name, ".pkl")
        surveys = [root.survey for root in group if root.survey is not None]
        others = group[1:] if first is not None else group
        binds = frozenset(root.target for root in others if root.target.isidentifier())
        owners = {root.owner for root in group if root.owner}
        needs = frozenset().union(*(root.needs for root in group), owners) - binds
        index = max(root.index for root in group)
        targets = ", ".join(root.target for root in group)
        if first is None:
            text = f'{targets} = _load("{file}")'
        else:
            needs |= {first.owner or first.target}
            text = f'_load("{file}", into={first.target})'
            text = f"{targets} = {text}" if others else text

        def write(out: BinaryIO) -> None:
            together = tuple(root.live for root in others)
            if first is None:
                writing.write(together, out, self.code, surveys, self.plan)
            else:
                writing.write_contents(first.live, first.target, together, out, self.code, surveys)

        return [*lines, Made(index, group, text, binds, needs, {}, file, write, last=first is not None)]

    def _single(self, root: Root) -> Made:
        owner = frozenset({root.owner}) if root.owner else frozenset()
        binds = frozenset({root.target} if root.target.isidentifier() else ())
        if root.live is MISSING:
            return Made(root.index, [root], f"del {root.target}", binds, owner, {})
        if root.source is not None:
            needs = owner | frozenset(root.source.names)
            text = self._as_written(root) or f"{root.target} = {root.source.text}"
            return Made(root.index, [root], text, binds, needs - {root.target}, root.source.modules)
        file = _file_name(root.target, root.suffix)
        surveys = [root.survey] if root.survey else []
        return Made(
            root.index, [root], f'{root.target} = _load("{file}")', binds, owner | root.needs, {}, file,
            lambda out: files.write_file(root.live, root.suffix, out, self.code, surveys, self.plan),
        )  # fmt: skip

    def _as_written(self, root: Root) -> str:
        """The notebook's own statement, if it is a literal of what the name means now; otherwise nothing."""
        node = root.origin.node if root.origin is not None and not root.owner else None
        if not isinstance(node, ast.Assign) or len(node.targets) != 1 or not isinstance(node.targets[0], ast.Name):
            return ""
        text = root.origin.text if root.origin is not None else ""
        own = root.source is not None and not root.source.names and not root.source.modules
        try:
            same = own and same_plain(ast.literal_eval(node.value), root.live)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return ""
        return "" if not same or next(written_credentials(node, text), None) else text

    def _empty(self, root: Root) -> Made:
        kind = type(root.live)
        name = self.code.find_name(kind) or kind.__name__
        made = f"{name}()" if kind in (list, dict, set) else f"{name}.__new__({name})"
        return Made(root.index, [root], f"{root.target} = {made}", frozenset({root.target}), frozenset(), {})


def _file_name(target: str, suffix: str) -> str:
    return re.sub(r"\W+", "_", target.replace(".__", ".")).strip("_")[:80] + suffix

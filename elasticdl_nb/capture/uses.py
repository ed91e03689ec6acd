"""Which global names a statement uses, and when: while it is executed, or when its functions are called."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

from elasticdl_nb.capture.surface import CHANGING_METHODS, OBSERVING_METHODS, Surface, surface_of

LAZY_ANNOTATIONS = "from __future__ import annotations"
COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})


@dataclass(frozen=True)
class Uses:
    """Global names that a statement needs, each with the place inside the statement that needs it ('' at the top)."""

    now: dict[str, str]  # needed while the statement is executed
    late: dict[str, str]  # needed when functions that it defines are called
    optional: frozenset[str]  # named in string annotations only
    late_changes: frozenset[str]  # globals that its functions assign or change
    late_calls: frozenset[str]  # globals that its functions call
    changed_parameters: frozenset[int | str]  # of a function: positions and names of the parameters that it changes
    passed_on: frozenset[tuple[str, int | str, str]]  # of a function: `Surface.arguments` that are its parameters


@lru_cache(maxsize=8192)
def uses_of(text: str, node: ast.stmt, lazy_annotations: bool) -> Uses:
    """Read the symbol table of the statement."""
    now: dict[str, str] = {}
    late: dict[str, str] = {}
    late_assigned: set[str] = set()
    top = symtable.symtable(f"{LAZY_ANNOTATIONS}\n{text}" if lazy_annotations else text, "<cell>", "exec")

    def walk(table: symtable.SymbolTable, where: str, deferred: bool) -> None:
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if table is not top and not symbol.is_global():
                continue
            if symbol.is_referenced():
                (late if deferred else now).setdefault(name, where)
            if deferred and symbol.is_assigned():
                late_assigned.add(name)
        for child in table.get_children():
            kind, name = _kind(child), child.get_name()
            # A generator is counted as run at once, like the other comprehensions: usually something consumes it.
            runs_later = kind == "function" and name not in COMPREHENSIONS
            named = kind in ("function", "class") and name not in COMPREHENSIONS and name != "lambda"
            walk(child, ".".join(filter(None, (where, name))) if named else where, deferred or runs_later)

    walk(top, "", False)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        now.setdefault(node.target.id, "")
    if isinstance(node, (ast.For, ast.AsyncFor)):
        for target in ast.walk(node.target):
            if isinstance(target, ast.Name):
                now.pop(target.id, None)
    for inner in ast.walk(node) if "class" in text else ():
        if isinstance(inner, ast.ClassDef):
            for name in _read_before_set(inner.body):
                now.setdefault(name, inner.name)
    found = surface_of(node, everywhere=True)
    return Uses(
        now,
        late,
        frozenset(_annotation_names(node, text, lazy_annotations) - now.keys() - late.keys()),
        frozenset((found.changes & late.keys()) | late_assigned),
        frozenset(found.calls & late.keys()),
        _changed_parameters(node, found),
        frozenset(one for one in found.arguments if one[2] in _parameters(node)),
    )


def _parameters(node: ast.stmt) -> list[str]:
    """Names of a function's parameters, those that may be given by position first and in order."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    found = node.args
    return [parameter.arg for parameter in (*found.posonlyargs, *found.args, *found.kwonlyargs)]


def places_of(node: ast.stmt, names: Collection[str]) -> frozenset[int | str]:
    """Return the positions and the keywords by which a function takes the parameters of these names."""
    places = enumerate(_parameters(node))
    return frozenset(place for position, name in places if name in names for place in (position, name))


def _changed_parameters(node: ast.stmt, found: Surface) -> frozenset[int | str]:
    if OBSERVING_METHODS & {method for _, method in found.method_calls}:
        return frozenset()
    changed = found.assigns_into | {
        root for root, method in found.method_calls if method in CHANGING_METHODS - {"compile", "build", "adapt"}
    }
    return places_of(node, changed)


def _read_before_set(body: list[ast.stmt]) -> Iterator[str]:
    """Names such as `lr` in the class body `lr = lr`: the symbol table calls them local, Python looks outside."""
    known: set[str] = set()
    for statement in body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            assigned = {target.id for target in targets if isinstance(target, ast.Name)}
            names = (inner for inner in ast.walk(statement) if isinstance(inner, ast.Name))
            yield from ({name.id for name in names if isinstance(name.ctx, ast.Load)} & assigned) - known
            known |= assigned


def _kind(table: symtable.SymbolTable) -> str:
    """'module', 'function', 'class' …: a plain string up to Python 3.12, an enumeration after it."""
    kind = table.get_type()
    return str(getattr(kind, "value", kind))


def _annotation_names(node: ast.stmt, text: str, lazy: bool) -> set[str]:
    """Names in annotations that are not evaluated, which the symbol table does not see: strings, or all of them."""
    names: set[str] = set()
    if not lazy and '"' not in text and "'" not in text:
        return names
    for inner in ast.walk(node):
        annotations: list[ast.expr | None] = []
        if isinstance(inner, (ast.arg, ast.AnnAssign)):
            annotations = [inner.annotation]
        elif isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef)):
            annotations = [inner.returns]
        for annotation in filter(None, annotations):
            for part in ast.walk(annotation):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    names |= _names_in(part.value)
                elif lazy and isinstance(part, ast.Name):
                    names.add(part.id)
    return names


def _names_in(text: str) -> set[str]:
    try:
        return {part.id for part in ast.walk(ast.parse(text, mode="eval")) if isinstance(part, ast.Name)}
    except SyntaxError:
        return set()

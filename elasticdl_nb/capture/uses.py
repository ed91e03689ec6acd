"""Which global names a statement uses, and when: while it is executed, or when its functions are called."""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from elasticdl_nb.capture.surface import surface_of

LAZY_ANNOTATIONS = "from __future__ import annotations"
COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})


@dataclass(frozen=True)
class Uses:
    """Global names that a statement needs, each with the place inside it that needs the name ('' for the top level)."""

    now: dict[str, str]  # needed while the statement is executed
    late: dict[str, str]  # needed when functions that it defines are called
    optional: frozenset[str]  # named in string annotations only
    late_calls: frozenset[str]  # globals that its functions call


@lru_cache(maxsize=8192)
def uses_of(text: str, node: ast.stmt, lazy_annotations: bool) -> Uses:
    """Read the symbol table of the statement."""
    now: dict[str, str] = {}
    late: dict[str, str] = {}
    top = symtable.symtable(f"{LAZY_ANNOTATIONS}\n{text}" if lazy_annotations else text, "<cell>", "exec")

    def walk(table: symtable.SymbolTable, where: str, deferred: bool) -> None:
        for symbol in table.get_symbols():
            name = symbol.get_name()
            if table is not top and not symbol.is_global():
                continue
            if symbol.is_referenced():
                (late if deferred else now).setdefault(name, where)
        for child in table.get_children():
            kind, name = _kind(child), child.get_name()
            # A generator expression is assumed to run at once, like a comprehension: usually something consumes it.
            runs_later = kind == "function" and name not in COMPREHENSIONS
            named = kind in ("function", "class") and name not in COMPREHENSIONS and name != "lambda"
            walk(child, ".".join(filter(None, (where, name))) if named else where, deferred or runs_later)

    walk(top, "", False)
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        now.setdefault(node.target.id, "")
    for handler in (inner for inner in ast.walk(node) if isinstance(inner, ast.ExceptHandler)):
        if handler.name:
            now.pop(handler.name, None)
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
        frozenset(found.calls & late.keys()),
    )


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

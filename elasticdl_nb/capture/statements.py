"""What one statement binds, changes and uses, found in its text alone."""

from __future__ import annotations

import ast
import symtable
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from elasticdl_nb.capture.cells import Piece

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
LAZY_ANNOTATIONS = "from __future__ import annotations"
COMPREHENSIONS = frozenset({"listcomp", "setcomp", "dictcomp", "genexpr"})
CHANGING_METHODS = frozenset(
    [
        "add",
        "add_metric",
        "append",
        "appendleft",
        "clear",
        "compile",
        "build",
        "adapt",
        "discard",
        "extend",
        "extendleft",
        "insert",
        "insort",
        "pop",
        "popitem",
        "register",
        "remove",
        "reverse",
        "setdefault",
        "sort",
        "subtract",
        "update",
        "__setitem__",
        "__delitem__",
    ]
)


@dataclass(frozen=True)
class Surface:
    """What a statement does when it is executed, calls not looked into."""

    binds: frozenset[str]
    deletes: frozenset[str]
    assigns_into: frozenset[str]  # roots of `root.a.b = …`, `root[k] = …`, `del root[k]`, `setattr(root, …)`
    method_calls: frozenset[tuple[str, str]]  # `root.a.method(…)` as (root, method)
    bare_calls: frozenset[tuple[str, str]]  # … of those, the ones that are a whole statement
    decorators: frozenset[str]  # roots of `@root` and `@root.method(…)`
    bases: frozenset[str]
    calls: frozenset[str]  # names that are called, decorators included
    awaits: bool

    @property
    def changes(self) -> frozenset[str]:
        """Names whose objects the statement seems to change, by its syntax."""
        return self.assigns_into | {root for root, method in self.method_calls if method in CHANGING_METHODS}


@dataclass(frozen=True)
class Uses:
    """Global names that a statement needs, each with the place inside the statement that needs it ('' at the top)."""

    now: dict[str, str]  # needed while the statement is executed
    late: dict[str, str]  # needed when functions that it defines are called
    optional: frozenset[str]  # named in string annotations only
    late_changes: frozenset[str]  # globals that its functions assign or change
    late_calls: frozenset[str]  # globals that its functions call


@dataclass(eq=False)
class Statement:
    """One executed statement and its position in the order of execution."""

    index: int
    piece: Piece
    lazy_annotations: bool = False  # `from __future__ import annotations` was in force

    @property
    def node(self) -> ast.stmt:
        """Its syntax tree."""
        return self.piece.node

    @property
    def text(self) -> str:
        """Its source."""
        return self.piece.text

    @property
    def is_import(self) -> bool:
        """Whether it is an import of one name."""
        return isinstance(self.node, (ast.Import, ast.ImportFrom))

    @property
    def is_definition(self) -> bool:
        """Whether it is a class or function statement."""
        return isinstance(self.node, DEFINITIONS)

    @cached_property
    def surface(self) -> Surface:
        """What it does when executed."""
        return _surface(self.piece.node)

    @cached_property
    def star_module(self) -> str | None:
        """The module of `from module import *`."""
        node = self.node
        return node.module if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" else None

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it gives a value; those of star imports come from the module as it is loaded now."""
        return self.surface.binds | {
            name for module in _star_modules(self.piece.node) for name in exported_names(module)
        }

    @cached_property
    def uses(self) -> Uses:
        """Names it needs."""
        return _uses(self.text, self.piece.node, self.lazy_annotations)


def exported_names(module: str) -> list[str]:
    """Names that `from module import *` binds; none if the module is not loaded."""
    loaded = sys.modules.get(module)
    if loaded is None:
        return []
    public = getattr(loaded, "__all__", None)
    return [name for name in vars(loaded) if not name.startswith("_")] if public is None else list(public)


def root_name(node: ast.expr) -> str | None:
    """`a` of `a`, `a.b`, `a[0].b` and `a.b().c`."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


@dataclass
class _Findings:
    binds: set[str] = field(default_factory=set)
    deletes: set[str] = field(default_factory=set)
    assigns_into: set[str] = field(default_factory=set)
    method_calls: set[tuple[str, str]] = field(default_factory=set)
    bare_calls: set[tuple[str, str]] = field(default_factory=set)
    decorators: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    awaits: bool = False


class _SurfaceVisitor(ast.NodeVisitor):
    """Walks what runs when a statement is executed; with `everywhere`, function bodies too."""

    def __init__(self, everywhere: bool = False) -> None:
        self.found = _Findings()
        self.everywhere = everywhere
        self.local_depth = 0  # > 0 where a bound name is not a global

    def bind(self, name: str | None) -> None:
        if name and not self.local_depth:
            self.found.binds.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.bind(node.id)
        elif isinstance(node.ctx, ast.Del) and not self.local_depth:
            self.found.deletes.add(node.id)

    def visit_alias(self, node: ast.alias) -> None:
        if node.name != "*":
            self.bind(node.asname or node.name.partition(".")[0])

    def visit_Attribute(self, node: ast.Attribute | ast.Subscript) -> None:
        root = root_name(node)
        if root and not isinstance(node.ctx, ast.Load):
            self.found.assigns_into.add(root)
        self.generic_visit(node)

    visit_Subscript = visit_Attribute  # noqa: N815

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self.bind(node.name)

    def visit_Expr(self, node: ast.Expr) -> None:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and root_name(call.func):
            self.found.bare_calls.add((root_name(call.func) or "", call.func.attr))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        root = root_name(node.func)
        if root:
            self.found.calls.add(root)
            if isinstance(node.func, ast.Attribute):
                self.found.method_calls.add((root, node.func.attr))
            elif root in ("setattr", "delattr") and node.args and root_name(node.args[0]):
                self.found.assigns_into.add(root_name(node.args[0]) or "")
        self.generic_visit(node)

    def visit_Await(self, node: ast.Await) -> None:
        self.found.awaits = True
        self.generic_visit(node)

    def visit_AsyncFor(self, node: ast.AsyncFor | ast.AsyncWith) -> None:
        self.found.awaits = True
        self.generic_visit(node)

    visit_AsyncWith = visit_AsyncFor  # noqa: N815

    def visit_comprehension_expression(self, node: ast.expr) -> None:
        walruses = [inner.target.id for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
        for name in walruses:
            self.bind(name)
        self.nested(ast.iter_child_nodes(node))

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_comprehension_expression  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.args)
        if self.everywhere:
            self.nested([node.body])

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.definition(node)
        self.visit(node.args)
        if self.everywhere:
            awaits = self.found.awaits
            self.nested(node.body)
            self.found.awaits = awaits

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.definition(node)
        for base in [*node.bases, *(keyword.value for keyword in node.keywords)]:
            root = root_name(base)
            if root:
                self.found.bases.add(root)
            self.visit(base)
        self.nested(node.body)

    def definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        self.bind(node.name)
        for decorator in node.decorator_list:
            root = root_name(decorator)
            if root and not self.local_depth:
                self.found.decorators.add(root)
            if root:
                self.found.calls.add(root)
                if isinstance(decorator, ast.Attribute):
                    self.found.method_calls.add((root, decorator.attr))
            self.visit(decorator)

    def nested(self, nodes: list[ast.stmt] | list[ast.expr] | Iterator[ast.AST]) -> None:
        self.local_depth += 1
        for node in nodes:
            self.visit(node)
        self.local_depth -= 1


@lru_cache(maxsize=8192)
def _surface(node: ast.stmt) -> Surface:
    visitor = _SurfaceVisitor()
    visitor.visit(node)
    found = visitor.found
    return Surface(
        frozenset(found.binds),
        frozenset(found.deletes),
        frozenset(found.assigns_into),
        frozenset(found.method_calls),
        frozenset(found.bare_calls),
        frozenset(found.decorators),
        frozenset(found.bases),
        frozenset(found.calls),
        found.awaits,
    )


def _star_modules(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.ImportFrom, ast.If, ast.Try, ast.With)):
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and inner.names[0].name == "*" and inner.module:
                yield inner.module


@lru_cache(maxsize=8192)
def _uses(text: str, node: ast.stmt, lazy_annotations: bool) -> Uses:
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
    deep = _SurfaceVisitor(everywhere=True)
    deep.visit(node)
    found = deep.found
    changed = found.assigns_into | {root for root, method in found.method_calls if method in CHANGING_METHODS}
    return Uses(
        now,
        late,
        frozenset(_annotation_names(node, text, lazy_annotations) - now.keys() - late.keys()),
        frozenset((changed & late.keys()) | late_assigned),
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

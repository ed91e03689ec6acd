"""What executing a statement does to names, according to its syntax; calls are not followed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True)
class Surface:
    """What a statement does when it is executed, without following calls."""

    binds: frozenset[str]
    decorators: frozenset[str]  # roots of `@root` and `@root.method(…)`
    bases: frozenset[str]
    calls: frozenset[str]  # names that are called, decorators included
    awaits: bool


def root_name(node: ast.expr) -> str | None:
    """`a` of `a`, `a.b`, `a[0].b` and `a.b().c`."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


@lru_cache(maxsize=8192)
def surface_of(node: ast.stmt, everywhere: bool = False) -> Surface:
    """Walk the code that runs when the statement is executed; with `everywhere`, the bodies of its functions too."""
    visitor = _SurfaceVisitor(everywhere)
    visitor.visit(node)
    found = visitor.found
    return Surface(
        frozenset(found.binds),
        frozenset(found.decorators),
        frozenset(found.bases),
        frozenset(found.calls),
        found.awaits,
    )


@dataclass
class _Findings:
    binds: set[str] = field(default_factory=set)
    decorators: set[str] = field(default_factory=set)
    bases: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)
    awaits: bool = False


class _SurfaceVisitor(ast.NodeVisitor):
    """Walks the code that runs when a statement is executed; with `everywhere`, function bodies too."""

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

    def visit_alias(self, node: ast.alias) -> None:
        if node.name != "*":
            self.bind(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self.bind(node.rest)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self.bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self.bind(node.name)

    def visit_Call(self, node: ast.Call) -> None:
        root = root_name(node.func)
        if root:
            self.found.calls.add(root)
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
            self.visit(decorator)

    def nested(self, nodes: list[ast.stmt] | list[ast.expr] | Iterator[ast.AST]) -> None:
        self.local_depth += 1
        for node in nodes:
            self.visit(node)
        self.local_depth -= 1

"""Statements as they were executed."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from elasticdl_nb.capture.cells import Piece
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.surface import Surface, surface_of
from elasticdl_nb.capture.uses import Uses, uses_of

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(eq=False)
class Statement:
    """One executed statement and its position in the order of execution."""

    index: int
    piece: Piece
    lazy_annotations: bool = False  # `from __future__ import annotations` was in effect

    @property
    def node(self) -> ast.stmt:
        """Its syntax tree."""
        return self.piece.node

    @property
    def text(self) -> str:
        """Its source."""
        return self.piece.text

    @property
    def rest_of_line(self) -> str:
        """The line that it ends on, including its trailing comment."""
        lines = self.piece.unit.splitlines()
        end = self.node.end_lineno or self.node.lineno
        return lines[end - 1] if end <= len(lines) else ""

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
        return surface_of(self.piece.node)

    @cached_property
    def star_module(self) -> str | None:
        """The module of `from module import *`."""
        node = self.node
        return node.module if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" else None

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names that it binds; those of star imports come from the module as it is loaded now."""
        return self.surface.binds | {
            name for module in _star_modules(self.piece.node) for name in exported_names(module)
        }

    @cached_property
    def uses(self) -> Uses:
        """The names that it needs."""
        return uses_of(self.text, self.piece.node, self.lazy_annotations)


def exported_names(module: str) -> list[str]:
    """Names that `from module import *` binds; none if the module is not loaded."""
    loaded = sys.modules.get(module)
    if loaded is None:
        return []
    public = getattr(loaded, "__all__", None)
    return [name for name in vars(loaded) if not name.startswith("_")] if public is None else list(public)


def _star_modules(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, (ast.ImportFrom, ast.If, ast.Try, ast.With)):
        for inner in ast.walk(node):
            if isinstance(inner, ast.ImportFrom) and inner.names[0].name == "*" and inner.module:
                yield inner.module


def value_of(live: Callable[[str], Any], node: ast.expr) -> Any:
    """The value of a constant, a name or a dotted name, without running anything; MISSING for everything else."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return live(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(value_of(live, node.value), node.attr, MISSING)
    return MISSING

"""Writes a closure as one module: a header that says where everything came from, then imports, then definitions."""

from __future__ import annotations

import ast
import symtable
import sys
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from elasticdl_nb.capture.closure import Closure
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.order import Line
from elasticdl_nb.capture.roots import Made
from elasticdl_nb.capture.settings import Settings
from elasticdl_nb.capture.statements import Statement, exported_names
from elasticdl_nb.capture.trace import Trace

LOADER = "from elasticdl_nb.capture.state import loader"


@dataclass(frozen=True)
class Part:
    """One statement of the module that is being composed."""

    index: float
    cell: int
    place: str
    text: str
    binds: frozenset[str]
    is_import: bool
    is_definition: bool = False


def compose(
    trace: Trace,
    closure: Closure,
    ordered: Iterable[Line],
    names: Iterable[str],
    aliases: Mapping[str, str],
    settings: Settings,
) -> tuple[str, list[int]]:
    """Return the module's source and the numbers of the cells it came from.

    `aliases` maps additional names to the expressions they stand for; they are bound at the end.
    """
    body = _parts(ordered)
    imports = [Part(-1, 0, "", given.text, frozenset({given.name}), True) for given in closure.imports.values()]
    imports += [Part(-1, 0, "", text, frozenset(), True) for text in _own_imports(ordered)]
    imports += [Part(-1, 0, "", text, frozenset({binds}), True) for binds, text in settings.imports.items()]
    loads = any("_load(" in part.text for part in body)
    if loads:
        imports.append(Part(-1, 0, "", LOADER, frozenset({"loader"}), True))
    taken = [part for part in [*imports, *body] if not part.text.startswith("from __future__ ")]
    hoisted = [part for part in taken if part.is_import and _can_lead(part, taken)]
    body = [part for part in taken if not (part.is_import and _can_lead(part, taken))]
    lines = _header(trace, [*hoisted, *body], names)
    futures = _futures(trace, [*imports, *body, *hoisted])
    lead = _import_lines(hoisted)
    lines += [*futures, ""] if futures else []
    lines += [*lead, ""] if lead else []
    lines += ["_load = loader(globals())", ""] if loads else []
    lines += ["# Settings that the notebook made for the whole process", *settings.lines, ""] if settings.lines else []
    lines += _body_lines(body, bool(lead or futures))
    if aliases:
        lines += ["", *(f"{name} = {expression}" for name, expression in aliases.items())]
    cells = sorted({part.cell for part in [*hoisted, *body] if part.place})
    return "\n".join(lines).rstrip("\n") + "\n", cells


def _own_imports(ordered: Iterable[Line]) -> list[str]:
    modules: dict[str, str] = {}
    for line in ordered:
        if not isinstance(line, Statement):
            modules |= line.modules
    return [f"import {name} as {alias}" for alias, name in modules.items()]


def unbound_names(source: str, known: Collection[str]) -> dict[str, int]:
    """Return the global names that a module reads but nothing binds, except `known` ones, each with a line."""
    top = symtable.symtable(source, "<module>", "exec")
    bound = set(known) | {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned()}
    bound |= {symbol.get_name() for symbol in top.get_symbols() if symbol.is_imported()}
    read: set[str] = set()

    def walk(table: symtable.SymbolTable) -> None:
        for symbol in table.get_symbols():
            if table is top or symbol.is_global():
                if symbol.is_referenced():
                    read.add(symbol.get_name())
                if symbol.is_assigned():
                    bound.add(symbol.get_name())
        for child in table.get_children():
            walk(child)

    walk(top)
    if not read - bound:
        return {}
    nodes = list(ast.walk(ast.parse(source)))
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" and node.module:
            bound.update(exported_names(node.module))
    missing = read - bound
    return dict(sorted((n.id, n.lineno) for n in nodes if isinstance(n, ast.Name) and n.id in missing))


def _parts(ordered: Iterable[Line]) -> list[Part]:
    parts = []
    for line in ordered:
        if isinstance(line, Statement):
            piece = line.piece
            parts.append(
                Part(line.index, piece.cell, piece.place, line.text, line.binds, line.is_import, line.is_definition)
            )
            continue
        cell, place = (line.piece.cell, line.piece.place) if line.piece else (0, "")
        remark = _remark(line)
        parts.append(Part(line.index, cell, place, line.text + remark, line.binds, False, line.text.startswith("def ")))
    return parts


def _remark(line: Made) -> str:
    """What a reader should know about a line that does not come from a cell."""
    root = line.roots[0] if line.roots else None
    if root is None or "\n" in line.text or root.live is MISSING:
        return ""
    if line.file:
        if len(line.roots) == 1:
            return f"  # {described(root.live)}, as in the notebook"
        kinds = ", ".join(dict.fromkeys(type(one.live).__name__ for one in line.roots))
        return f"  # {kinds}, which share objects"
    if isinstance(root.live, (type, types.FunctionType)) or (root.origin and root.origin.text == line.text):
        return ""
    return "  # its value in the notebook"


def described(value: Any) -> str:
    """What a value is, in a few words: its class, and the type and shape of an array."""
    kind = type(value).__name__
    layers = getattr(value, "layers", None) if type(value).__module__.startswith("keras.") else None
    if isinstance(layers, list):
        frozen = [" (frozen)" if not layer.trainable and layer.variables else "" for layer in layers]
        shown = [f"{layer.name}{still}" for layer, still in zip(layers, frozen, strict=True)]
        shown = [*shown[:6], f"… {len(shown) - 7} more …", shown[-1]] if len(shown) > 8 else shown
        return f"{kind} of {', '.join(shown)}"
    if type(value).__module__ == "__main__":
        return kind
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if isinstance(shape, tuple) and dtype is not None:
        return f"{kind} of {dtype}, {shape}"
    if isinstance(shape, tuple) and shape:
        return f"{kind} of {shape[0]:,} rows"
    return kind


def _can_lead(part: Part, parts: list[Part]) -> bool:
    """Whether an import may go to the top: nothing else gives its name another meaning."""
    return all(other.text == part.text or _same_package(part, other) for other in parts if part.binds & other.binds)


def _same_package(one: Part, other: Part) -> bool:
    return all(part.text.startswith("import ") and " as " not in part.text for part in (one, other))


def _header(trace: Trace, parts: list[Part], names: Iterable[str]) -> list[str]:
    origins: dict[str, list[str]] = {}
    for part in sorted(parts, key=lambda part: part.index):
        if part.place:
            origins.setdefault(part.place, []).extend(sorted(part.binds))
    wanted = ", ".join(names)
    lines = [f"# Packaged by elasticdl_nb: {wanted}, with what they need.", "#"]
    width = max(map(len, origins), default=0)
    for place, bound in origins.items():
        shown = list(dict.fromkeys(bound))
        more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
        lines.append(f"#   {place:{width}}  {', '.join(shown[:8])}{more}")
    return [*lines, ""]


def _futures(trace: Trace, parts: Iterable[Part]) -> list[str]:
    """`from __future__` imports that were in effect: a notebook keeps them for all later cells."""
    last = int(max((part.index for part in parts), default=-1))
    found = (one.text for one in trace.statements[: last + 1] if one.text.startswith("from __future__ "))
    return list(dict.fromkeys(found))


def _import_lines(parts: list[Part]) -> list[str]:
    plain: dict[str, None] = {}
    members: dict[str, dict[str, None]] = {}
    for part in parts:
        node = ast.parse(part.text).body[0]
        if isinstance(node, ast.ImportFrom):
            members.setdefault("." * node.level + (node.module or ""), {})[ast.unparse(node.names[0])] = None
        else:
            plain[part.text] = None
    lines = [(text.split()[1], False, text) for text in plain]
    for module, names in members.items():
        text = f"from {module} import {', '.join(sorted(names))}"
        if len(text) > 110:
            text = f"from {module} import (\n" + "".join(f"    {name},\n" for name in sorted(names)) + ")"
        lines.append((module, True, text))
    lines.sort(key=lambda line: (line[1], line[0], line[2]))
    standard = [line for line in lines if line[0].partition(".")[0] in sys.stdlib_module_names]
    others = [line for line in lines if line[0].partition(".")[0] not in sys.stdlib_module_names]
    between = [""] if standard and others else []
    return [line[2] for line in standard] + between + [line[2] for line in others]


def _body_lines(parts: list[Part], after_imports: bool) -> list[str]:
    lines: list[str] = []
    place, spacious = None, after_imports
    for part in parts:
        text = part.text
        roomy = part.is_definition or "\n" in part.text
        if lines:
            lines += ["", ""] if roomy or spacious else [] if part.place == place else [""]
        elif roomy:
            lines += [""]
        if part.place and part.place != place:
            lines.append(f"# {part.place}")
        lines.append(text)
        place, spacious = part.place or place, roomy
    return lines

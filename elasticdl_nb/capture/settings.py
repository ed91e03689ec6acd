"""The settings of a notebook's whole process, as they are now, whatever set them.

These are the settings of Keras and TensorFlow, seeds, registered objects and attributes of modules, as well as imports
that are there for their side effects.
"""

from __future__ import annotations

import ast
import random
import sys
import types
from collections.abc import Iterator
from typing import Any

from elasticdl_nb.capture.closure import Search
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.modules import add_changes, add_imports_for_their_effect
from elasticdl_nb.capture.processwide import SETTABLE, seed_of_keras, settings_of
from elasticdl_nb.capture.randomness import is_numpy_seeded, seed_of_numpy, seed_of_python
from elasticdl_nb.capture.roots import Made, Root
from elasticdl_nb.capture.state.writing import write
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import END, Trace

# What finds registered objects by a name that may be put together at run time.
_LOOKUPS = ("get_registered_object", "custom_objects", "deserialize", "from_config", "from_json", "load_model")


class Settings:
    """Lines that go before everything else, and the imports that they need, by the names that those bind."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: dict[str, str] = {}
        self.made: list[Made] = []  # lines that load a file


def find_settings(trace: Trace, search: Search) -> Settings:
    """Return the settings in effect; whatever they need from the notebook is requested from `search`."""
    found = Settings()
    add_imports_for_their_effect(trace, search)
    search.finish()
    _registered(trace, search, found)
    search.finish()
    add_changes(trace, search, found.imports)
    search.finish()
    for module, usual in SETTABLE.items():
        lines = settings_of(module)
        name = _alias(trace, found, module, usual) if lines else ""
        found.lines += [f"{name}.{line}" for line in lines]
    _random_numbers(trace, search, found)
    return found


def _alias(trace: Trace, found: Settings, module: str, usual: str) -> str:
    """A name for a module: the usual one, unless the notebook uses that for something else."""
    live = trace.live(usual)
    name = usual if live is MISSING or live is sys.modules[module] else f"_{module}"
    found.imports[name] = f"import {module}" if name == module else f"import {module} as {name}"
    return name


def _random_numbers(trace: Trace, search: Search, found: Settings) -> None:
    """`random.seed(7)` and `np.random.seed(7)`, directly, through a helper, or as Keras does."""
    by_keras = seed_of_keras()
    if (seed := seed_of_python(trace)) is None:
        seed = _written_seed(trace, random.seed)
    if seed is not None and seed != by_keras:
        found.lines.append(f"{_alias(trace, found, 'random', 'random')}.seed({seed})")
    numpy: Any = sys.modules.get("numpy")
    if not hasattr(numpy, "random"):
        return
    if (seed := seed_of_numpy(trace)) is None:
        seed = _written_seed(trace, numpy.random.seed)
    if seed is not None and seed != by_keras:
        found.lines.append(f"{_alias(trace, found, 'numpy', 'np')}.random.seed({seed})")
    elif seed is None and (is_numpy_seeded() or any("set_state(" in one.text for one in trace.statements)):
        name, state, code = _alias(trace, found, "numpy", "np"), numpy.random.get_state(), search.roots.code
        file = "numpy_random_state.pkl"
        text = f'{name}.random.set_state(_load("{file}"))  # as in the notebook'
        found.made.append(
            Made(-1, [], text, frozenset(), frozenset({name}), {}, file, lambda out: write(state, out, code, ()))
        )


def _written_seed(trace: Trace, function: Any) -> int | None:
    """The number that the notebook's last direct call of a function names; None if there is none."""
    seed = None
    for statement in trace.statements:
        for node in _calls(statement.node) if "seed(" in statement.text else ():
            if len(node.args) == 1 and value_of(trace.live, node.func) == function:
                value = value_of(trace.live, node.args[0])
                seed = value if isinstance(value, int) else seed
    return seed


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _registered(trace: Trace, search: Search, found: Settings) -> None:
    """Add the objects of the notebook that the package may look up in Keras by name."""
    keras: Any = sys.modules.get("keras")
    objects = dict(keras.saving.get_custom_objects()) if hasattr(keras, "saving") else {}
    if not objects:
        return
    texts = [statement.text for statement in search.result.statements.values()]
    for root in search.roots.all:
        texts.append(root.source.text if root.source else "")
        kept = root.survey.kept.values() if root.survey else ()
        texts += [one[1] for one in kept if type(one[1]) is str]
    text = "\n".join(texts)
    anything = any(word in text for word in _LOOKUPS)
    for name, value in objects.items():
        package, _, short = name.rpartition(">")
        if not (anything or short in text) or not (search.roots.code.is_ours(value) or not package):
            continue
        alias = _alias(trace, found, "keras", "keras")
        own = search.roots.code.find_name(value) if isinstance(value, (type, types.FunctionType)) else None
        if own is None or not package:
            search.roots.add(Root(f"{alias}.saving.get_custom_objects()[{name!r}]", value, 1e9, None, None))
            continue
        search.need(own.partition(".")[0], END, name)
        origin = trace.origin(own.partition(".")[0])
        if origin is None or not origin.surface.decorators:  # registered by a call, not by a decorator
            registered = f"{alias}.saving.register_keras_serializable({package!r}, {short!r})"
            search.roots.calls[f"{registered}({own})"] = own.partition(".")[0]

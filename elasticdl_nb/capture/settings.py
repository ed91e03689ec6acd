"""The settings of a notebook's whole process, as they are now, whatever set them.

These are the settings of Keras and TensorFlow, seeds, registered objects and attributes of modules, as well as imports
that are there for their side effects.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterable, Iterator
from typing import Any

from elasticdl_nb.capture.closure import Search
from elasticdl_nb.capture.dependencies import find_dependencies, is_local_module
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.overrides import same_plain
from elasticdl_nb.capture.roots import Root
from elasticdl_nb.capture.trace import Trace

_KERAS = (
    ("floatx", "set_floatx", "float32"),
    ("epsilon", "set_epsilon", 1e-7),
    ("image_data_format", "set_image_data_format", "channels_last"),
)


class Settings:
    """Lines that go before everything else, and the imports that they need, by the names that those bind."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: dict[str, str] = {}


def find_settings(trace: Trace, search: Search) -> Settings:
    """Return the settings in effect; whatever they need from the notebook is requested from `search`."""
    found = Settings()
    _imports_for_their_effect(trace, search)
    _registered(trace, search, found)
    _attributes_of_modules(trace, search, found)
    search.finish()
    keras, tf = _loaded("keras", "config"), _loaded("tensorflow", "config")
    if keras is not None:
        _of_keras(trace, found, keras)
    if tf is not None:
        _of_tensorflow(trace, found, tf, keras)
    _seeds_of_other_libraries(trace, found)
    return found


def _loaded(name: str, part: str) -> Any:
    module = sys.modules.get(name)
    return module if module is not None and hasattr(module, part) else None


def _alias(trace: Trace, found: Settings, module: str, usual: str) -> str:
    """A name for a module: the usual one, unless the notebook uses that for something else."""
    live = trace.live(usual)
    name = usual if live is MISSING or live is sys.modules[module] else f"_{module}"
    found.imports[name] = f"import {module}" if name == module else f"import {module} as {name}"
    return name


# ------------------------------------------------------------------ Keras and TensorFlow


def _of_keras(trace: Trace, found: Settings, keras: Any) -> None:
    lines = []
    for getter, setter, usual in _KERAS:
        value = getattr(keras.config, getter)()
        if value != usual:
            lines.append(f"config.{setter}({value!r})")
    policy = keras.config.dtype_policy()
    if policy.name != keras.config.floatx():
        lines.append(f"config.set_dtype_policy({policy.name!r})")
    seed = keras.src.utils.rng_utils.get_random_seed()
    if seed is not None:
        lines.append(f"utils.set_random_seed({seed})")
    if lines:
        name = _alias(trace, found, "keras", "keras")
        found.lines += [f"{name}.{line}" for line in lines]


def _of_tensorflow(trace: Trace, found: Settings, tf: Any, keras: Any) -> None:
    lines = []
    from tensorflow.python.eager import context

    seed = context.global_seed()
    if seed is not None and (keras is None or keras.src.utils.rng_utils.get_random_seed() != seed):
        lines.append(f"random.set_seed({seed})")
    if hasattr(tf.Tensor, "reshape"):
        lines.append("experimental.numpy.experimental_enable_numpy_behavior()")
    if tf.config.functions_run_eagerly():
        lines.append("config.run_functions_eagerly(True)")
    if lines:
        name = _alias(trace, found, "tensorflow", "tf")
        found.lines += [f"{name}.{line}" for line in lines]


def _seeds_of_other_libraries(trace: Trace, found: Settings) -> None:
    """`random.seed(7)` and `np.random.seed(7)`: the generators do not say which seed they started from."""
    for module, usual in (("numpy", "np"), ("random", "random")):
        owner = sys.modules["numpy"].random if module == "numpy" and "numpy" in sys.modules else sys.modules.get(module)
        seed = None
        for node in (
            node for statement in trace.statements if ".seed(" in statement.text for node in _calls(statement.node)
        ):
            function = node.func
            seeds = isinstance(function, ast.Attribute) and function.attr == "seed" and len(node.args) == 1
            if seeds and owner is not None and _value_of(trace, function.value) is owner:  # type: ignore[attr-defined]
                value = _value_of(trace, node.args[0])
                seed = value if isinstance(value, int) else seed
        if seed is not None:
            name = _alias(trace, found, module, usual)
            found.lines.append(f"{name}.random.seed({seed})" if module == "numpy" else f"{name}.seed({seed})")


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _value_of(trace: Trace, node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return trace.live(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value_of(trace, node.value), node.attr, MISSING)
    return MISSING


def _registered(trace: Trace, search: Search, found: Settings) -> None:
    """Add the objects that layers may look up in Keras by name."""
    keras = _loaded("keras", "saving")
    objects = dict(keras.saving.get_custom_objects()) if keras is not None else {}
    if not objects:
        return
    text = "\n".join(statement.text for statement in search.result.statements.values())
    for name, value in objects.items():
        if name.rpartition(">")[2] not in text or not (search.roots.code.is_ours(value) or ">" not in name):
            continue
        if ">" in name and isinstance(value, (type, types.FunctionType)):
            own = search.roots.code.find_name(value)
            if own is not None:
                search.need(own.partition(".")[0], 1 << 60, name)
            continue
        alias = _alias(trace, found, "keras", "keras")
        search.roots.add(Root(f"{alias}.saving.get_custom_objects()[{name!r}]", value, 1e9, None, None))


# ------------------------------------------------------------------ modules


def _imports_for_their_effect(trace: Trace, search: Search) -> None:
    """Keep imports of the user's own modules that nothing mentions."""
    imported = [one for one in trace.statements if isinstance(one.node, ast.Import)]
    for statement in imported:
        name = next(iter(statement.binds), "")
        module = sys.modules.get(getattr(statement.node, "names", [types])[0].name)
        if module is None or trace.live(name) is MISSING or not is_local_module(module):
            continue
        if not any(name in one.uses.now or name in one.uses.late for one in trace.statements):
            search.need(name, 1 << 60, "")


def _attributes_of_modules(trace: Trace, search: Search, found: Settings) -> None:
    """Add attributes of imported modules and their classes that the notebook has changed."""
    imports = "\n".join(one.text for one in search.result.statements.values() if one.is_import)
    imports += "".join(f"\n{given.text}" for given in search.result.imports.values())
    if not imports.strip():
        return
    taken: set[str] = set()
    for target, value, index, piece in [*_assigned(trace, imports), *_differing(trace, imports, found)]:
        if target not in taken and search.trace.live(target.partition(".")[0]) is not None:
            taken.add(target)
            root = target.partition(".")[0]
            owner = root if root not in found.imports else ""
            if owner:
                search.need(owner, 1 << 60, "")
            search.roots.add(Root(target, value, index, piece, None, owner=owner))


def _assigned(trace: Trace, imports: str) -> Iterator[tuple[str, Any, float, Any]]:
    """`module.name = …` and `module.Class.name = …`, at the top level or inside functions, with the current value."""
    tops = {line.split()[1].partition(".")[0] for line in imports.splitlines() if line.strip()}
    for statement in trace.statements:
        if "=" not in statement.text:
            continue
        for node in ast.walk(statement.node):
            targets: Iterable[ast.expr] = ()
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, (ast.AugAssign, ast.AnnAssign)):
                targets = (node.target,)
            for target in targets:
                if not isinstance(target, ast.Attribute):
                    continue
                holder = _value_of(trace, target.value)
                home = holder.__name__ if isinstance(holder, types.ModuleType) else getattr(holder, "__module__", None)
                if not isinstance(holder, (types.ModuleType, type)) or not isinstance(home, str) or home == "__main__":
                    continue
                value = vars(holder).get(target.attr, MISSING)
                if value is not MISSING and home.partition(".")[0] in tops:
                    yield ast.unparse(target), value, statement.index, statement.piece


def _differing(trace: Trace, imports: str, found: Settings) -> Iterator[tuple[str, Any, float, Any]]:
    """Constants of the user's own modules that differ from what the files say."""
    for path, text in find_dependencies(imports).modules.items():
        name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        module = sys.modules.get(name)
        if module is None or not text.strip():
            continue
        written: dict[str, Any] = {}
        bound: set[str] = set()
        for node in ast.parse(text).body:
            bound |= {
                inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store)
            }
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                try:
                    written[node.targets[0].id] = ast.literal_eval(node.value)
                except (ValueError, TypeError, SyntaxError):
                    written.pop(node.targets[0].id, None)
            elif isinstance(node, (ast.AugAssign, ast.For, ast.If, ast.Try, ast.While, ast.With)):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Name):
                        written.pop(inner.id, None)
        for key, value in written.items():
            live = vars(module).get(key, MISSING)
            if (
                live is not MISSING
                and type(live) is type(value)
                and not same_plain(live, value)
                and _set_by_notebook(trace, name, key)
            ):
                alias = next((one for one, other in trace.namespace.items() if other is module), None)
                if alias is None:
                    alias = "_" + name.replace(".", "_")
                    found.imports[alias] = f"import {name} as {alias}"
                yield f"{alias}.{key}", live, -1, None


def _set_by_notebook(trace: Trace, module: str, key: str) -> bool:
    """Whether a cell names the attribute: the module may also have changed its constant itself."""
    return any(key in statement.text for statement in trace.statements)

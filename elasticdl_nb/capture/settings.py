"""The settings of a notebook's whole process, as they are now, whatever set them.

These are the settings of Keras and TensorFlow, seeds, registered objects and attributes of modules, as well as imports
that are there for their side effects.
"""

from __future__ import annotations

import ast
import sys
import types
from collections.abc import Iterator
from typing import Any

from elasticdl_nb.capture.closure import Search
from elasticdl_nb.capture.live import MISSING
from elasticdl_nb.capture.modules import add_changes, add_imports_for_their_effect
from elasticdl_nb.capture.roots import Root
from elasticdl_nb.capture.statements import value_of
from elasticdl_nb.capture.trace import END, Trace

_KERAS = (
    ("floatx", "set_floatx", "float32"),
    ("epsilon", "set_epsilon", 1e-7),
    ("image_data_format", "set_image_data_format", "channels_last"),
)


# What finds registered objects by a name that may be put together at run time.
_LOOKUPS = ("get_registered_object", "custom_objects", "deserialize", "from_config", "from_json", "load_model")


class Settings:
    """Lines that go before everything else, and the imports that they need, by the names that those bind."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.imports: dict[str, str] = {}


def find_settings(trace: Trace, search: Search) -> Settings:
    """Return the settings in effect; whatever they need from the notebook is requested from `search`."""
    found = Settings()
    add_imports_for_their_effect(trace, search)
    search.finish()
    _registered(trace, search, found)
    search.finish()
    add_changes(trace, search, found.imports)
    search.finish()
    keras, tf = _loaded("keras", "config"), _loaded("tensorflow", "config")
    if keras is not None:
        _of_keras(trace, found, keras)
    if tf is not None:
        _of_tensorflow(trace, found, tf, keras)
    _of_numbers(trace, found)
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
    from tensorflow.python.framework import config

    if config.is_op_determinism_enabled():
        lines.append("config.experimental.enable_op_determinism()")
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        lines.append("config.experimental.enable_tensor_float_32_execution(False)")
    if tf.config.optimizer.get_jit():
        lines.append("config.optimizer.set_jit(True)")
    if lines:
        name = _alias(trace, found, "tensorflow", "tf")
        found.lines += [f"{name}.{line}" for line in lines]


def _of_numbers(trace: Trace, found: Settings) -> None:
    """What NumPy and `decimal` do with numbers."""
    numpy = _loaded("numpy", "geterr")
    if numpy is not None:
        usual = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
        changed = {key: value for key, value in numpy.geterr().items() if usual[key] != value}
        if changed:
            given = ", ".join(f"{key}={value!r}" for key, value in changed.items())
            found.lines.append(f"{_alias(trace, found, 'numpy', 'np')}.seterr({given})")
    decimal = _loaded("decimal", "getcontext")
    if decimal is not None:
        here, usual = decimal.getcontext(), decimal.Context()
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
            if getattr(here, name) != getattr(usual, name):
                alias = _alias(trace, found, "decimal", "decimal")
                found.lines.append(f"{alias}.getcontext().{name} = {getattr(here, name)!r}")


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
            if seeds and owner is not None and value_of(trace.live, function.value) is owner:  # type: ignore[attr-defined]
                value = value_of(trace.live, node.args[0])
                seed = value if isinstance(value, int) else seed
        if seed is not None:
            name = _alias(trace, found, module, usual)
            found.lines.append(f"{name}.random.seed({seed})" if module == "numpy" else f"{name}.seed({seed})")


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Call))


def _registered(trace: Trace, search: Search, found: Settings) -> None:
    """Add the objects of the notebook that the package may look up in Keras by name."""
    keras = _loaded("keras", "saving")
    objects = dict(keras.saving.get_custom_objects()) if keras is not None else {}
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

"""Settings of this whole process that are not the usual ones, each as the statement that makes it.

The same functions read them where the notebook runs and where its package was imported, so that the two can be
compared.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from elasticdl_nb.capture.values import quoted

_KERAS = (
    ("floatx", "set_floatx", "float32"),
    ("epsilon", "set_epsilon", 1e-7),
    ("image_data_format", "set_image_data_format", "channels_last"),
)
# Groups of pandas' options that say how things look.
_SHOWN = ("display", "plotting", "styler")
_NUMBERS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def settings_of(module: str) -> list[str]:
    """Return statements that make the module's settings, without its name in front; empty if it is not loaded."""
    needed, settings = _READERS[module]
    loaded = sys.modules.get(module)
    return list(settings(loaded)) if loaded is not None and hasattr(loaded, needed) else []


def all_settings() -> dict[str, str]:
    """Return the settings of all modules: `{"keras.config.set_floatx": "('float64')"}`."""
    found = {}
    for module in SETTABLE:
        for line in settings_of(module):
            name, sign, value = line.partition(" = ") if " = " in line else line.partition("(")
            found[f"{module}.{name}"] = f"{sign.strip(' =')}{value}"
    return found


def _keras(keras: Any) -> Iterator[str]:
    for getter, setter, usual in _KERAS:
        value = getattr(keras.config, getter)()
        if value != usual:
            yield f"config.{setter}({quoted(value)})"
    for name in ("max_epochs", "max_steps_per_epoch"):  # of newer versions
        limit = getattr(keras.config, name, lambda: None)()
        if limit is not None:
            yield f"config.set_{name}({limit!r})"
    flash = keras.config.is_flash_attention_enabled()
    if flash is not None:
        yield f"config.{'enable' if flash else 'disable'}_flash_attention()"
    if keras.src.saving.serialization_lib.in_safe_mode() is False:
        yield "config.enable_unsafe_deserialization()"
    policy = keras.config.dtype_policy()
    if policy.name != keras.config.floatx():
        yield f"config.set_dtype_policy({quoted(policy.name)})"
    seed = seed_of_keras()
    if seed is not None:
        yield f"utils.set_random_seed({seed})"


def seed_of_keras() -> int | None:
    """The seed that `keras.utils.set_random_seed` set; None if it was not called."""
    keras: Any = sys.modules.get("keras")
    seed: int | None = keras.src.utils.rng_utils.get_random_seed() if hasattr(keras, "config") else None
    return seed


def _tensorflow(tf: Any) -> Iterator[str]:
    from tensorflow.python.eager import context
    from tensorflow.python.framework import config
    from tensorflow.python.ops.numpy_ops import np_dtypes

    seed = context.global_seed()
    if seed is not None and seed != seed_of_keras():
        yield f"random.set_seed({seed})"
    if hasattr(tf.Tensor, "reshape"):
        prefers = "prefer_float32=True" if np_dtypes.is_prefer_float32() else ""
        yield f"experimental.numpy.experimental_enable_numpy_behavior({prefers})"
    if tf.config.functions_run_eagerly():
        yield "config.run_functions_eagerly(True)"
    if config.is_op_determinism_enabled():
        yield "config.experimental.enable_op_determinism()"
    if not tf.config.experimental.tensor_float_32_execution_enabled():
        yield "config.experimental.enable_tensor_float_32_execution(False)"
    if tf.config.optimizer.get_jit():
        yield "config.optimizer.set_jit(True)"


def _numpy(numpy: Any) -> Iterator[str]:
    changed = {key: value for key, value in numpy.geterr().items() if _NUMBERS[key] != value}
    if changed:
        yield f"seterr({', '.join(f'{key}={quoted(value)}' for key, value in changed.items())})"


def _decimal(decimal: Any) -> Iterator[str]:
    here, usual = decimal.getcontext(), decimal.Context()
    for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
        if getattr(here, name) != getattr(usual, name):
            yield f"getcontext().{name} = {quoted(getattr(here, name))}"


def _sklearn(sklearn: Any) -> Iterator[str]:
    usual = sys.modules["sklearn._config"]._global_config
    changed = {key: value for key, value in sklearn.get_config().items() if usual.get(key) != value}
    if changed:
        yield f"set_config({', '.join(f'{key}={quoted(value)}' for key, value in changed.items())})"


def _pandas(pandas: Any) -> Iterator[str]:
    for name, option in sorted(sys.modules["pandas._config.config"]._registered_options.items()):
        if name.partition(".")[0] in _SHOWN:
            continue
        with warnings.catch_warnings(action="ignore"):  # some options are only read here
            value = pandas.get_option(name)
        if value != option.defval:
            yield f"set_option({quoted(name)}, {quoted(value)})"


# By module: an attribute that it has once it is loaded completely, and what reads its settings.
_READERS: dict[str, tuple[str, Callable[[Any], Iterator[str]]]] = {
    "keras": ("config", _keras),
    "tensorflow": ("config", _tensorflow),
    "numpy": ("geterr", _numpy),
    "decimal": ("getcontext", _decimal),
    "sklearn": ("set_config", _sklearn),
    "pandas": ("set_option", _pandas),
}
SETTABLE = {
    "keras": "keras", "tensorflow": "tf", "numpy": "np", "decimal": "decimal", "sklearn": "sklearn", "pandas": "pd"
}  # fmt: skip
"""The modules that have settings, each with its usual name."""

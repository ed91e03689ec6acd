"""Making a model: by the code that defines it or, for a trained one whose files have changed, from its blueprint.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

import contextlib
import inspect
from types import ModuleType
from typing import Any, NamedTuple

import keras

from elasticdl_nb.runtime.errors import ModelError, OptionError, did_you_mean
from elasticdl_nb.runtime.model.contract import (
    CLASS_NAMES,
    MODULE_NAMES,
    ModelDefinition,
    names_in,
    names_of_model,
    no_model,
    several_models,
)
from elasticdl_nb.runtime.model.loading.calls import takes_by_name
from elasticdl_nb.runtime.model.loading.losses import OptimizerSource
from elasticdl_nb.runtime.model.loading.modules import find, user_code
from elasticdl_nb.runtime.model.reading import keras_names
from elasticdl_nb.runtime.model.reading.source import Zoo
from elasticdl_nb.runtime.model.saving import blueprint


class Made(NamedTuple):
    """A model, the `params` that its constructor does not take, and notes for users."""

    model: keras.Model
    left: dict[str, Any]
    notes: tuple[str, ...] = ()


def make_model(definition: ModelDefinition, zoo: Zoo, module: ModuleType) -> Made:
    """Make the model of a definition, whose module is imported; see `loader.load` for what it raises.

    The code of a trained model makes another model, or none, where it reads files that have changed since: then the
    model's blueprint makes it.
    """
    plan = blueprint.read(definition.state) if definition.state else ""
    try:
        made = _by_code(definition, zoo, module)
    except (ModelError, OptionError) as error:
        if not plan:
            raise
        with contextlib.suppress(ModelError):
            return Made(blueprint.make(plan), {})
        raise error
    if not plan or not (now := blueprint.blueprint_of(made.model, definition.zoo)) or not blueprint.differs(now, plan):
        return made
    try:
        return made._replace(model=blueprint.make(plan))
    except ModelError as error:
        note = f"{definition.model_def} makes another model than the trained one; predictions may differ. Also, {error}"
        return made._replace(notes=(note,))


def _by_code(definition: ModelDefinition, zoo: Zoo, module: ModuleType) -> Made:
    target = _target(module, zoo.locate(definition.model_def).attributes, definition.model_def)
    arguments, left = _constructor_arguments(target, definition, zoo, module)
    model = target
    if not isinstance(target, keras.Model):
        with user_code(f"making {definition.model_def}", definition.zoo):
            model = target(**arguments)
    if not isinstance(model, keras.Model):
        raise ModelError(f"{definition.model_def} returned {type(model).__name__}, which is not a keras.Model")
    return Made(model, left)


def _target(module: ModuleType, attributes: tuple[str, ...], dotted: str) -> Any:
    """The class, function or model object that `model_def` stands for."""
    target: Any = module
    for attribute in attributes:
        if not hasattr(target, attribute):
            near = did_you_mean(attribute, dir(target))
            raise OptionError("model_def", f"{target.__name__} has no {attribute!r} (from {dotted}).{near}")
        target = getattr(target, attribute)
    if isinstance(target, ModuleType):
        target = _model_of_module(target)
    if inspect.isclass(target) and not issubclass(target, keras.Model):
        bases = ", ".join(base.__name__ for base in target.__mro__[1:-1]) or "nothing"
        raise OptionError("model_def", f"{dotted} is not a keras.Model: the class derives from {bases}")
    if not isinstance(target, keras.Model) and not callable(target):
        raise OptionError(
            "model_def",
            f"{dotted} is a {type(target).__name__}, which is not a keras.Model class, a function that returns "
            "a model, or a model",
        )
    return target


def _model_of_module(module: ModuleType) -> Any:
    for name in names_of_model(module.__name__):
        value = getattr(module, name, None)
        if value is not None and not isinstance(value, ModuleType):
            return value
    models = [
        value for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, keras.Model) and value.__module__ == module.__name__
    ]  # fmt: skip
    if len(models) == 1:
        return models[0]
    if models:
        raise several_models(module.__name__, [value.__name__ for value in models])
    raise no_model(module.__name__, vars(module))


def _constructor_arguments(
    target: Any, definition: ModelDefinition, zoo: Zoo, module: ModuleType
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split `params` into those for the model and those left for the optimizer.

    A parameter goes to the model if its constructor names it, else to the optimizer if its function names it, else to
    the constructor's `**kwargs`.
    """
    if isinstance(target, keras.Model):
        return {}, dict(definition.params)
    names, any_other = takes_by_name(target)
    if any_other:
        wanted = _optimizer_names_before_model(target, definition, zoo, module)
        mine = {name for name in definition.params if name in names or name not in wanted}
    else:
        mine = set(names) & set(definition.params)
    required = [
        parameter.name for parameter in inspect.signature(target).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and parameter.name not in definition.params
    ]  # fmt: skip
    if required:
        raise OptionError("params", f"{definition.model_def} requires {' and '.join(required)}, missing in params")
    return (
        {name: value for name, value in definition.params.items() if name in mine},
        {name: value for name, value in definition.params.items() if name not in mine},
    )


def _optimizer_names_before_model(target: Any, definition: ModelDefinition, zoo: Zoo, module: ModuleType) -> list[str]:
    """Names of the arguments of the optimizer's function, found before there is a model."""
    if definition.optimizer:
        given = named(definition.optimizer, "optimizer", zoo, module)
        return OptimizerSource(given, f"optimizer={definition.optimizer}").arguments()[0]
    candidates = [getattr(target, name, None) for name in CLASS_NAMES["optimizer"]] if inspect.isclass(target) else []
    candidates += [getattr(module, name, None) for name in MODULE_NAMES["optimizer"]]
    function = next((item for item in candidates if callable(item)), None)
    return [] if function is None else [name for name in takes_by_name(function)[0] if name != "self"]


def named(name: str, role: str, zoo: Zoo, module: ModuleType) -> Any:
    """Return the object that an option names, or a list of several metrics; Keras' names stay names."""
    if role == "eval_metrics_fn" and "," in name:
        return [named(one, role, zoo, module) for one in names_in(name)]
    if keras_names.is_name_for(role, name) and not hasattr(module, name):
        return name
    return find(zoo, name, role, module)

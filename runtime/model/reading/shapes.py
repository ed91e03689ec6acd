"""What the source of a class or function says about its bases and arguments."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from elasticdl_nb.runtime.model.reading.source import UNKNOWN, Defined, External, Found, Zoo

_MODELS = {"keras.Model", "keras.Sequential", "keras.models.Model", "keras.models.Sequential"}
_NEVER_MODELS = (
    "keras.layers.", "keras.Layer", "keras.losses.", "keras.Loss", "keras.metrics.", "keras.Metric",
    "keras.optimizers.", "keras.Optimizer", "keras.callbacks.", "keras.initializers.", "keras.regularizers.",
    "tensorflow.Module", "builtins.", "abc.", "typing.", "enum.", "collections.", "dataclasses.",
)  # fmt: skip
_TRANSPARENT_DECORATORS = {"staticmethod", "classmethod", "batched", "function", "override"}
# The arguments of keras.Model.__init__, which a class without a constructor of its own inherits.
KERAS_MODEL_ARGUMENTS = ("name", "trainable", "dtype")


@dataclass(frozen=True)
class Arguments:
    """The arguments that a function takes by name, and those of them that it requires."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    takes_any: bool = False


def keras_path(path: str) -> str:
    """Return the name below `keras.` for the names under which TensorFlow has Keras."""
    for prefix in ("tensorflow.compat.v2.", "tensorflow."):
        if path.startswith(f"{prefix}keras."):
            return path.removeprefix(prefix)
    for name in ("losses", "optimizers", "metrics"):
        if path.startswith(f"tensorflow.{name}."):
            return path.replace("tensorflow.", "keras.", 1)
    return path


def is_model(zoo: Zoo, found: Found | None, _depth: int = 0) -> bool | None:
    """Whether a class is a keras.Model: True or False if the source settles it, None if it does not."""
    if isinstance(found, External):
        path = keras_path(found.path)
        if path in _MODELS:
            return True
        return False if path.startswith(_NEVER_MODELS) else None
    if not isinstance(found, Defined) or not isinstance(found.node, ast.ClassDef) or _depth > 20:
        return None
    node = found.node
    if node.keywords or any(not _is_registration(decorator) for decorator in node.decorator_list):
        return None
    answers = [is_model(zoo, zoo.evaluate(found.module, base), _depth + 1) for base in node.bases]
    if True in answers:
        return True
    return None if None in answers else False


def _is_registration(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, (ast.Attribute, ast.Name)) and "register_keras_serializable" in ast.unparse(target)


def class_attribute(zoo: Zoo, found: Found, name: str, _depth: int = 0) -> Found | None:
    """Return what a class has under `name`, including what it inherits within the zoo.

    None if it certainly has no such name; the classes of Keras have none of the model contract's names.
    """
    if isinstance(found, External):
        return None if is_model(zoo, found) is not None else UNKNOWN
    if not isinstance(found, Defined) or not isinstance(found.node, ast.ClassDef) or _depth > 20:
        return UNKNOWN
    certain = not found.node.keywords and all(_is_registration(item) for item in found.node.decorator_list)
    for statement in found.node.body:
        match statement:
            case ast.FunctionDef(name=defined) | ast.AsyncFunctionDef(name=defined) | ast.ClassDef(name=defined):
                if defined == name:
                    return Defined(found.module, name, statement)
            case ast.Assign(targets=targets, value=value) if any(
                isinstance(target, ast.Name) and target.id == name for target in targets
            ):
                return Defined(found.module, name, value)
            case ast.AnnAssign(target=ast.Name(id=defined), value=ast.expr() as value) if defined == name:
                return Defined(found.module, name, value)
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                certain = False
    for base in found.node.bases:
        evaluated = zoo.evaluate(found.module, base)
        inherited = UNKNOWN if evaluated is None else class_attribute(zoo, evaluated, name, _depth + 1)
        if inherited is not None:
            return inherited
    return None if certain else UNKNOWN


def arguments_of(found: Found | None, *, method: bool = False) -> Arguments | None:
    """Return the arguments of a function, or None if the source does not settle them."""
    if not isinstance(found, Defined) or not isinstance(found.node, (ast.FunctionDef, ast.Lambda)):
        return None
    decorators = [_last_name(item) for item in getattr(found.node, "decorator_list", [])]
    if any(name not in _TRANSPARENT_DECORATORS for name in decorators):
        return None
    given = found.node.args
    positional = [argument.arg for argument in (*given.posonlyargs, *given.args)]
    required = positional[: len(positional) - len(given.defaults)]
    keyword_only = [argument.arg for argument in given.kwonlyargs]
    required += [name for name, default in zip(keyword_only, given.kw_defaults, strict=True) if default is None]
    bound = method and "staticmethod" not in decorators and positional[:1] not in ([], ["lr"], ["learning_rate"])
    own = positional[0] if bound else None
    return Arguments(
        names=tuple(name for name in (*positional, *keyword_only) if name != own),
        required=tuple(name for name in required if name != own),
        takes_any=given.kwarg is not None,
    )


def constructor_of(zoo: Zoo, found: Found) -> Arguments | None:
    """Return the arguments of a class's constructor, or None if the source does not settle them."""
    if class_attribute(zoo, found, "__new__") is not None:
        return None
    initializer = class_attribute(zoo, found, "__init__")
    if initializer is None:
        return Arguments(KERAS_MODEL_ARGUMENTS, ()) if is_model(zoo, found) else None
    return arguments_of(initializer, method=True)


def _last_name(decorator: ast.expr) -> str:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""

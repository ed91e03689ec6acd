"""Refuse what is certainly wrong with a job's model before any process starts, by reading the zoo's source.

No user code is run and TensorFlow is not loaded. Where the source does not settle a question, the model is accepted:
the loader in the worker has the last word.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.model.contract import (
    CLASS_NAMES,
    MODULE_NAMES,
    TABLE_INPUT,
    names_in,
    names_of_model,
    no_model,
    several_models,
)
from elasticdl_nb.runtime.model.reading import keras_names
from elasticdl_nb.runtime.model.reading.requirements import check_requirements
from elasticdl_nb.runtime.model.reading.shapes import Arguments, arguments_of, class_attribute, constructor_of, is_model
from elasticdl_nb.runtime.model.reading.source import (
    UNKNOWN,
    Defined,
    External,
    Found,
    Location,
    Module,
    ModuleName,
    Zoo,
)
from elasticdl_nb.runtime.spec import ARRAY_INPUT, JobSpec

__all__ = ["check_model", "check_requirements", "data_reader_of"]

_NEVER_MODEL_NODES = (
    ast.Constant, ast.JoinedStr, ast.Dict, ast.List, ast.Set, ast.Tuple, ast.ListComp, ast.DictComp, ast.SetComp,
    ast.GeneratorExp, ast.Compare, ast.UnaryOp,
)  # fmt: skip


def check_model(zoo: str, spec: JobSpec) -> None:
    """Raise OptionError, naming the wrong option, if the job's model certainly does not follow the model contract.

    `zoo` is the zoo's root directory. For evaluation and prediction, whose options do not name the model, pass a spec
    with the trained model's `model_def` and names filled in; without model_def only the dotted names of functions are
    checked.
    """
    source = Zoo(zoo)
    if not spec.model_def:
        _check_names(source, None, [(role, name) for role, name in _named(spec) if "." in name])
        return
    location = source.locate(spec.model_def)
    module = source.module(location.module)
    model = _find_model(source, module, location, spec.model_def)
    _check_is_model(source, module, model, spec.model_def)
    _check_names(source, module, _named(spec))
    _check_parts(source, module, model, spec)
    _check_params(source, module, model, spec)


def data_reader_of(zoo: str, spec: JobSpec) -> str:
    """Return the name of the model's custom_data_reader, from the option or the module, or an empty string.

    The arguments are those of `check_model`, which must have accepted them. Where the source does not settle it, the
    answer is none: the worker reports an error if there is one after all.
    """
    name = MODULE_NAMES["custom_data_reader"][0]
    if spec.custom_data_reader or not spec.model_def:
        return spec.custom_data_reader
    source = Zoo(zoo)
    found = source.lookup(source.module(source.locate(spec.model_def).module), name)
    is_function = isinstance(found, External) or (
        isinstance(found, Defined) and not isinstance(found.node, _NEVER_MODEL_NODES)
    )
    return name if is_function else ""


# ------------------------------------------------------------------ the model


def _find_model(zoo: Zoo, module: Module, location: Location, dotted: str) -> Found:
    if not location.attributes:
        return _model_of_module(zoo, module)
    found: Found | None = zoo.lookup(module, location.attributes[0])
    if found is None:
        near = did_you_mean(location.attributes[0], zoo.names(module))
        classes = [name for name, node in module.bindings.items() if isinstance(node, ast.ClassDef)]
        has = f" Its classes: {', '.join(classes)}." if classes and not near else ""
        raise OptionError(
            "model_def", f"{zoo.relative(module.path)} defines no {location.attributes[0]!r} (from {dotted})."
            f"{near}{has}"
        )  # fmt: skip
    for attribute in location.attributes[1:]:
        inner = class_attribute(zoo, found, attribute)
        if inner is None:
            raise OptionError("model_def", f"{dotted}: there is no {attribute!r} in {location.attributes[0]}")
        found = inner
    if isinstance(found, ModuleName) and zoo.path(found.name) is not None:
        return _model_of_module(zoo, zoo.module(found.name))
    return found


def _model_of_module(zoo: Zoo, module: Module) -> Found:
    """The model that a module stands for: `model`, `custom_model`, a class of the module's name, or its only model."""
    for name in names_of_model(module.name):
        found = zoo.lookup(module, name)
        if found is not None and not isinstance(found, ModuleName):
            return found
    classes = [Defined(module, name, node) for name, node in module.bindings.items() if isinstance(node, ast.ClassDef)]
    models = [found for found in classes if is_model(zoo, found)]
    if len(models) == 1:
        return models[0]
    if len(models) > 1:
        raise several_models(module.name, [found.name for found in models])
    if module.dynamic or module.stars or any(is_model(zoo, found) is None for found in classes):
        return UNKNOWN
    raise no_model(zoo.relative(module.path), module.bindings)


def _check_is_model(zoo: Zoo, module: Module, found: Found, dotted: str) -> None:
    if isinstance(found, Defined) and isinstance(found.node, ast.ClassDef) and is_model(zoo, found) is False:
        bases = ", ".join(ast.unparse(base) for base in found.node.bases) or "nothing"
        where = zoo.place(found.module.path, found.node.lineno)
        raise OptionError("model_def", f"{dotted} is not a keras.Model: the class derives from {bases} ({where})")
    if isinstance(found, Defined) and isinstance(found.node, _NEVER_MODEL_NODES):
        where = zoo.place(found.module.path, found.node.lineno)
        raise OptionError(
            "model_def",
            f"{dotted} is {ast.unparse(found.node)[:60]} ({where}), which is not a keras.Model class, a "
            "function that returns a model, or a model",
        )
    if isinstance(found, External) and is_model(zoo, found) is False:
        raise OptionError("model_def", f"{dotted} is {found.path}, which is not a keras.Model")
    if isinstance(found, ModuleName) and zoo.path(found.name) is None:
        raise OptionError("model_def", f"{dotted} is a folder without Python code of its own")


# ------------------------------------------------------------------ functions given by name


def _named(spec: JobSpec) -> list[tuple[str, str]]:
    """Each option that names functions, with each of the names."""
    return [(role, name) for role in CLASS_NAMES for name in names_in(getattr(spec, role))]


def _check_names(zoo: Zoo, module: Module | None, named: list[tuple[str, str]]) -> None:
    errors = []
    for role, name in named:
        try:
            _check_named(zoo, module, role, name)
        except OptionError as error:
            errors.append(error)
    OptionError.raise_together(errors)


def _check_named(zoo: Zoo, module: Module | None, role: str, dotted: str) -> None:
    """Raise OptionError if the function that option `role` names certainly does not exist."""
    first, _, rest = dotted.partition(".")
    if module is not None and zoo.lookup(module, first) is not None and not (rest and zoo.has(first)):
        return
    if not rest:
        if keras_names.is_name_for(role, dotted):
            return
        known = [] if module is None else zoo.names(module)
        near = did_you_mean(dotted, [*known, *keras_names.names_for(role)])
        where = "the model's module" if module is None else zoo.relative(module.path)
        what = "metric" if role == "eval_metrics_fn" else role
        also = f" and Keras has no {what} of that name" if keras_names.names_for(role) else ""
        raise OptionError(role, f"{where} defines no {dotted!r}{also}.{near}")
    if zoo.has(first):
        location = zoo.locate(dotted, role)
        if location.attributes:
            holder = zoo.module(location.module, role)
            if zoo.lookup(holder, location.attributes[0]) is None:
                near = did_you_mean(location.attributes[0], zoo.names(holder))
                raise OptionError(role, f"{zoo.relative(holder.path)} defines no {location.attributes[0]!r}.{near}")
        else:
            raise OptionError(role, f"{dotted} is a module; name a function in it")
        return
    if _check_in_built_in_zoo(role, dotted) or _is_installed(first):
        return
    names = list(zoo.module_names())
    raise OptionError(
        role,
        f"{dotted}: there is no module {first!r} in the model zoo, and none is installed."
        f"{did_you_mean(first, [name.partition('.')[0] for name in names])}",
    )


def _check_in_built_in_zoo(role: str, dotted: str) -> bool:
    zoo = Zoo(built_in_zoo())
    if not zoo.has(dotted.partition(".")[0]):
        return False
    location = zoo.locate(dotted, role)
    holder = zoo.module(location.module, role)
    if not location.attributes or zoo.lookup(holder, location.attributes[0]) is None:
        near = did_you_mean(dotted.rpartition(".")[2], zoo.names(holder))
        raise OptionError(role, f"{dotted} is not a built-in function.{near}")
    return True


@functools.cache
def built_in_zoo() -> str:
    """The directory of the models that come with elasticdl_nb."""
    spec = importlib.util.find_spec("elasticdl_nb.model_zoo")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent)


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


# ------------------------------------------------------------------ the parts of the model


def _check_parts(zoo: Zoo, module: Module, model: Found, spec: JobSpec) -> None:
    wanted = {"train": ("loss", "optimizer"), "evaluate": ("loss",), "predict": ()}[spec.kind]
    if spec.input_fn in (TABLE_INPUT, ARRAY_INPUT):
        _check_no_own_input(zoo, module, model, spec)
    if spec.input_fn == TABLE_INPUT:
        return
    for role in wanted:
        may_do_without = _may_compile(zoo, module) or _may_make_own_steps(zoo, module)
        if not getattr(spec, role) and _part(zoo, module, model, role) is None and not may_do_without:
            raise OptionError(role, _absent(zoo, module, model, spec.model_def, role, f"or give --{role}"))
    if not spec.input_fn and not spec.dataset_fn:
        parts = [_part(zoo, module, model, role) for role in ("input_fn", "dataset_fn")]
        if parts == [None, None]:
            otherwise = "or dataset_fn, or give --input_fn, or --label if the data is a table"
            raise OptionError("input_fn", _absent(zoo, module, model, spec.model_def, "input_fn", otherwise))


def _check_no_own_input(zoo: Zoo, module: Module, model: Found, spec: JobSpec) -> None:
    for role in ("input_fn", "dataset_fn"):
        found = _part(zoo, module, model, role)
        if found is None or found is UNKNOWN or spec.kind != "train":
            continue
        if spec.label:
            raise OptionError(
                "label", f"{spec.model_def} has an {role} of its own, which says what the label is; leave out label"
            )  # fmt: skip
        raise OptionError(
            "data", f"given as arrays, which are what the model gets, but {spec.model_def} has an {role} of its own; "
            "give files or a frame for it, or remove it",
        )  # fmt: skip


def _part(zoo: Zoo, module: Module, model: Found, role: str) -> Found | None:
    """What the model has for a role, on its class or in its module."""
    if isinstance(model, Defined) and isinstance(model.node, ast.ClassDef):
        found = _first(class_attribute(zoo, model, name) for name in CLASS_NAMES[role])
        homes = [model.module] if model.module is module else [module, model.module]
    else:
        found = UNKNOWN if _returns_rich_model(zoo, module, CLASS_NAMES[role]) else None
        homes = [module]
    if found is not None:
        return found
    return _first(zoo.lookup(home, name) for home in homes for name in MODULE_NAMES[role])


def _first(answers: Iterable[Found | None]) -> Found | None:
    return next((answer for answer in answers if answer is not None), None)


def _returns_rich_model(zoo: Zoo, module: Module, names: Iterable[str]) -> bool:
    """Whether a module's objects may have these names on their classes: some class within reach mentions them."""
    reachable, queue = {module.name}, [module]
    while queue:
        current = queue.pop()
        for statement in ast.walk(current.tree):
            for imported in _imported(current, statement):
                owner = imported if zoo.path(imported) is not None else imported.rpartition(".")[0]
                if owner and owner not in reachable and zoo.path(owner) is not None:
                    reachable.add(owner)
                    queue.append(zoo.module(owner))
    return any(
        isinstance(statement, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name in names for part in statement.body)
        for name in reachable
        for statement in ast.walk(zoo.module(name).tree)
    )


def _imported(module: Module, statement: ast.AST) -> list[str]:
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        source = module.absolute(statement.module, statement.level)
        return [source, *(f"{source}.{alias.name}".lstrip(".") for alias in statement.names)]
    return []


def _may_compile(zoo: Zoo, module: Module) -> bool:
    """Whether the model may have a loss and an optimizer of its own, through Keras' compile()."""
    # A packaged notebook loads its model objects from files, as they were compiled there.
    return bool({"compile", "_load"} & set(module.mentions))


def _may_make_own_steps(zoo: Zoo, module: Module) -> bool:
    """Whether some class within reach may compute its loss, or train, in a way of its own."""
    return _returns_rich_model(zoo, module, ("train_step", "compute_loss", "make_train_function"))


def _absent(zoo: Zoo, module: Module, model: Found, model_def: str, role: str, otherwise: str) -> str:
    where = zoo.relative(module.path)
    if isinstance(model, Defined) and isinstance(model.node, ast.ClassDef):
        methods = [item.name for item in model.node.body if isinstance(item, ast.FunctionDef)]
        near = did_you_mean(CLASS_NAMES[role][0], methods) or did_you_mean(MODULE_NAMES[role][0], zoo.names(module))
        wanted = f"the class has no {CLASS_NAMES[role][0]} and {where} no {MODULE_NAMES[role][0]}"
    else:
        near = did_you_mean(MODULE_NAMES[role][0], zoo.names(module))
        wanted = f"{where} has no {MODULE_NAMES[role][0]}"
    return f"required, but {model_def} has none: {wanted}. Define it, {otherwise}.{near}"


# ------------------------------------------------------------------ params


def _check_params(zoo: Zoo, module: Module, model: Found, spec: JobSpec) -> None:
    constructor = _constructor(zoo, model)
    if constructor is None:
        return
    absent = [name for name in constructor.required if name not in spec.params]
    if absent:
        raise OptionError(
            "params", f"{spec.model_def} needs {' and '.join(absent)}: --params=\"{absent[0]}=…\". "
            f"It takes {', '.join(constructor.names)}."
        )  # fmt: skip
    left = [name for name in spec.params if name not in constructor.names]
    if not left or constructor.takes_any or spec.kind != "train":
        return
    optimizer = _optimizer_arguments(zoo, module, model, spec)
    if optimizer is None or optimizer.takes_any:
        return
    known = (*constructor.names, *optimizer.names)
    for name in left:
        if name not in optimizer.names:
            takes = f" Known: {', '.join(dict.fromkeys(known))}." if known else ""
            raise OptionError(
                "params", f"{name}: neither {spec.model_def} nor its optimizer accepts it."
                f"{did_you_mean(name, known)}{takes}"
            )  # fmt: skip


def _constructor(zoo: Zoo, model: Found) -> Arguments | None:
    if isinstance(model, Defined):
        if isinstance(model.node, ast.ClassDef):
            return constructor_of(zoo, model)
        if isinstance(model.node, (ast.FunctionDef, ast.Lambda)):
            return arguments_of(model)
        if isinstance(model.node, ast.Call) and model.name == "model":
            return Arguments((), ())
    return None


def _optimizer_arguments(zoo: Zoo, module: Module, model: Found, spec: JobSpec) -> Arguments | None:
    if not spec.optimizer:
        found = _part(zoo, module, model, "optimizer")
        return arguments_of(found, method=isinstance(found, Defined) and found.name == "default_optimizer")
    found = zoo.lookup(module, spec.optimizer.partition(".")[0])
    if found is not None:
        return arguments_of(found) if "." not in spec.optimizer else None
    if keras_names.is_name_for("optimizer", spec.optimizer):
        return Arguments(tuple(sorted(keras_names.optimizer_arguments(spec.optimizer))), ())
    if not zoo.has(spec.optimizer.partition(".")[0]):
        return None
    location = zoo.locate(spec.optimizer, "optimizer")
    if len(location.attributes) != 1:
        return None
    return arguments_of(zoo.lookup(zoo.module(location.module), location.attributes[0]))

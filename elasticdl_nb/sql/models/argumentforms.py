"""Which values an argument takes: those of the built-in models, of the user's classes, and of Keras' parts.

A user's class says it by its annotations and, without one, by the default. What neither settles is accepted.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_SIZE = 2**31 - 1


@dataclass(frozen=True)
class Form:
    """The values that an argument takes, in words (a noun) and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    most = sys.float_info.max
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -most <= value <= most


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def whole(least: int) -> Form:
    """Whole numbers of at least this, and below 2**31."""
    return Form(f"a whole number of at least {least}", lambda value: _is_whole(value) and least <= value <= _MOST_SIZE)


def between(least: float, most: float) -> Form:
    """Numbers in this range, which includes its ends."""
    return Form(f"a number from {least} to {most}", lambda value: _is_number(value) and least <= value <= most)


def list_of(form: Form) -> Form:
    """Lists whose items all have the form."""
    return Form(f"a list, each item {form.words}", lambda value: LIST.fits(value) and all(map(form.fits, value)))


def any_of(*forms: Form) -> Form:
    """Values that have one of the forms."""
    words = list(dict.fromkeys(form.words for form in forms))
    return Form(" or ".join(words), lambda value: any(form.fits(value) for form in forms))


def one_of(values: Sequence[Any]) -> Form:
    """One of these values."""
    return Form(f"one of {', '.join(map(str, values))}",
                lambda value: any(type(value) is type(known) and value == known for known in values))  # fmt: skip


NUMBER = Form("a number", _is_number)
POSITIVE = Form("a number greater than 0", lambda value: _is_number(value) and value > 0)
NOT_NEGATIVE = Form("a number of at least 0", lambda value: _is_number(value) and value >= 0)
WHOLE = Form("a whole number", _is_whole)
SWITCH = Form("true or false", lambda value: isinstance(value, bool))
TEXT = Form("a text", lambda value: isinstance(value, str))
NULL = Form("null", lambda value: value is None)
LIST = Form("a list", lambda value: isinstance(value, (list, tuple)))
SIZES = Form("a list of whole numbers of at least 1, such as [64, 32]", list_of(whole(1)).fits)

BUILT_IN: Mapping[str, Form] = {
    "hidden_units": SIZES, "learning_rate": POSITIVE, "lr": POSITIVE, "n_classes": whole(2), "embedding_dim": whole(1),
    "vocabulary_size": whole(1),
}  # fmt: skip
"""The arguments of the built-in models; the same name means the same in all of them."""

_OPTIMIZER: Mapping[str, Form] = {
    "learning_rate": POSITIVE, "name": TEXT, "exclude_layers": list_of(TEXT), "momentum": between(0, 1),
    "ema_momentum": between(0, 1), "ema_overwrite_frequency": whole(1), "gradient_accumulation_steps": whole(2),
    "ns_steps": whole(1), "warmup_steps": whole(0), "initial_accumulator_value": NOT_NEGATIVE,
    "l1_regularization_strength": NOT_NEGATIVE, "l2_regularization_strength": NOT_NEGATIVE,
    "l2_shrinkage_regularization_strength": NOT_NEGATIVE,
    "learning_rate_power": Form("a number of at most 0", lambda value: _is_number(value) and value <= 0),
    **dict.fromkeys(("use_ema", "nesterov", "centered", "amsgrad", "relative_step", "exclude_embeddings"), SWITCH),
    **dict.fromkeys(("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"), POSITIVE),
}  # fmt: skip
_MAY_BE_NULL = frozenset({
    "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "ema_overwrite_frequency", "loss_scale_factor",
    "gradient_accumulation_steps", "name", "exclude_layers", "ignore_class",
})  # fmt: skip
_LOSS: Mapping[str, Form] = {
    "axis": any_of(WHOLE, list_of(WHOLE)), "ignore_class": WHOLE, "label_smoothing": between(0, 1),
    "reduction": one_of(("sum_over_batch_size", "sum", "mean", "mean_with_sample_weight")),
    **dict.fromkeys(("from_logits", "apply_class_balancing", "remove_diagonal"), SWITCH),
}  # fmt: skip


def of_keras(part: str, name: str) -> Form:
    """Return the values that an argument of Keras' optimizers or losses takes; all others are numbers."""
    form = (_OPTIMIZER if part == "optimizer" else _LOSS).get(name, NUMBER)
    return any_of(form, NULL) if name in _MAY_BE_NULL else form


# ------------------------------------------------------------------ the user's own classes


def of_class(value: type) -> dict[str, Form]:
    """Return the values that each argument of a class's constructor takes, where its signature settles that."""
    found = {}
    for name, parameter in inspect.signature(value).parameters.items():
        if parameter.annotation is parameter.empty:
            form = _of_default(parameter.default)
        else:
            form = _of_hint(_hint(parameter.annotation, value))
            form = any_of(form, NULL) if form is not None and parameter.default is None else form
        if form is not None:
            found[name] = form
    return found


def _hint(annotation: Any, value: type) -> Any:
    """Return what an annotation means where the class was defined, or Any if it means nothing there."""
    names = getattr(value.__init__, "__globals__", {})  # type: ignore[misc]
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={"hint": annotation}), names)["hint"]
    except Exception:  # names that only a type checker knows
        return Any


_SIMPLE: Mapping[Any, Form] = {
    int: WHOLE, float: NUMBER, bool: SWITCH, str: TEXT, type(None): NULL, list: LIST, tuple: LIST,
}  # fmt: skip
_LISTS = (list, tuple, Sequence, Iterable, Collection)


def _of_hint(hint: Any) -> Form | None:
    """Return the form of an annotation; None if it may mean anything."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _of_hint(arguments[0])
    if origin is typing.Literal:
        return one_of(arguments)
    if origin in (typing.Union, types.UnionType):
        forms = [form for form in map(_of_hint, arguments) if form is not None]
        return any_of(*forms) if len(forms) == len(arguments) else None
    if origin in _LISTS:
        items = [argument for argument in arguments if argument is not ...]
        if origin is tuple and ... not in arguments:
            return _of_tuple([_of_hint(item) for item in items])
        inner = _of_hint(items[0]) if items else None
        return LIST if inner is None else list_of(inner)
    return _SIMPLE.get(hint) if isinstance(hint, type) else None


def _of_tuple(forms: Sequence[Form | None]) -> Form:
    def fits(value: Any) -> bool:
        return LIST.fits(value) and len(value) == len(forms) and all(
            form is None or form.fits(item) for form, item in zip(forms, value, strict=True)
        )  # fmt: skip

    return Form(f"a list of {len(forms)}", fits)


def _of_default(default: Any) -> Form | None:
    """Return what an argument without an annotation takes, by its default: other kinds of values never work."""
    like = f", like its default {default!r} (annotate the argument if it takes others)"
    if isinstance(default, bool):
        return Form(f"true or false{like}", lambda value: value is None or isinstance(value, (bool, int)))
    if isinstance(default, (int, float)):
        several = any_of(NUMBER, NULL, list_of(NUMBER))  # a size may be one for each dimension
        return Form(f"a number{like}", several.fits)
    if isinstance(default, str):
        return Form(f"a text{like}", any_of(TEXT, NULL, LIST).fits)
    if isinstance(default, (list, tuple)):
        inner = _of_default(default[0]) if default else None
        fits = LIST.fits if inner is None else list_of(inner).fits
        return Form(f"a list{like}", lambda value: value is None or fits(value))
    return None

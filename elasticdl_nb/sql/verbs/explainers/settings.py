"""Which explainer an EXPLAIN statement means, and its settings from WITH."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Attribute, Explain
from elasticdl_nb.sql.verbs.explainers import shapley
from elasticdl_nb.sql.verbs.explainers.explainer import Explainer
from elasticdl_nb.sql.verbs.explainers.gradients import IntegratedGradients
from elasticdl_nb.sql.verbs.explainers.permutation import Permutation

KINDS: Mapping[str, type[Explainer]] = {
    "permutation": Permutation, "integrated_gradients": IntegratedGradients, "shap": shapley.Shap,
}  # fmt: skip
# Classes of the package shap, which SQLFlow's statements name. Each is for certain models; the explainer that shap has
# for all models does the same.
_ALIASES = {
    f"{name}explainer": "shap"
    for name in ("tree", "deep", "kernel", "gradient", "permutation", "sampling", "linear", "exact", "shap")
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "permutation": {"rows": 2000, "repeats": 5, "seed": 0},
    "integrated_gradients": {"rows": 2000, "steps": 20, "seed": 0},
    "shap": {"rows": 100, "repeats": 2, "background": 20, "seed": 0, "summary.plot_type": "dot",
             "summary.max_display": 20, "summary.sort": True, "summary.alpha": 1.0},
}  # fmt: skip


def find_explainer(statement: Explain) -> str:
    """Return the name of the explainer; raise SqlError if it does not exist, or a package that it needs is missing."""
    if statement.explainer is None:
        summary = any(as_today(attribute).key.startswith("summary.") for attribute in statement.attributes)
        name = "shap" if summary else "permutation"
    else:
        given = statement.explainer.text.lower().replace("_", "")
        names = {**_ALIASES, **{name.replace("_", ""): name for name in KINDS}}
        if given not in names:
            near = did_you_mean(given, KINDS)
            raise SqlError(
                f"there is no explainer {statement.explainer.text!r}.{near} There are: {', '.join(KINDS)}",
                statement.explainer.position,
            )
        name = names[given]
    missing = shapley.missing_package() if name == "shap" else ""
    if missing:
        raise SqlError(f"this explanation needs {missing}, which is not installed; pip install 'elasticdl_nb[shap]'",
                       statement.explainer.position if statement.explainer else None)  # fmt: skip
    return name


def as_today(attribute: Attribute) -> Attribute:
    """Return the attribute under its current name: `summary.…` used to be `shap_summary.…`."""
    return replace(attribute, key=attribute.key.removeprefix("shap_"))


def read_settings(explainer: str, given: Mapping[str, Any], places: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return the explainer's settings, given or default; raise SqlError, with its place, for a value that is wrong."""
    return {name: _setting(name, default, given, places) for name, default in DEFAULTS[explainer].items()}


def _setting(name: str, default: Any, given: Mapping[str, Any], places: Mapping[str, Attribute]) -> Any:
    if name not in given:
        return default
    value = given[name]
    if name == "summary.plot_type":
        fits, needed = value in shapley.PLOTS, f"one of {', '.join(shapley.PLOTS)}"
    elif isinstance(default, bool):
        fits, needed = isinstance(value, bool), "true or false"
    elif isinstance(default, float):
        fits = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= 1
        needed = "a number greater than 0 and at most 1"
    else:
        least = 0 if name == "seed" else 1
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= least
        needed = f"a whole number of at least {least}"
    if not fits:
        raise SqlError(f"{name}: {value!r} is not valid: expected {needed}", places[name].value_position)
    return value

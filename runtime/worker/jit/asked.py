"""What a job and its model ask for: compiled steps, measured ones, or neither."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras.src.trainers.trainer import model_supports_jit

from elasticdl_nb.runtime.model.embeddings.served_step import as_graph
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.feed import is_plain
from elasticdl_nb.runtime.worker.jit.steps import Jit, MeasuredSteps, Step


def hindrance(model: keras.Model, element_spec: Any) -> str:
    """Return why a job can only make a model's steps as its author says; an empty string if it can do more."""
    if model.run_eagerly:
        return "the model was compiled with run_eagerly"
    if "make_train_function" in own_methods(model):
        return "the model has a make_train_function of its own"
    if not is_plain(element_spec):
        return "its batches have no shape that is known before they are read"
    return ""


def compiled_by_author(model: keras.Model) -> bool:
    """Whether the model's author has compiled it with `jit_compile=True`, or Keras does so, on a GPU."""
    return bool(model.jit_compile) and model._compile_config.config["jit_compile"] is True


def jit_of(spec: JobSpec, model: keras.Model) -> Jit:
    """Return which steps are compiled."""
    if spec.jit_compile != "auto":
        return "true" if spec.jit_compile == "true" else "false"
    if spec.seed or spec.skip_failed_tasks or not model_supports_jit(model):
        return "false"  # a batch that fails must have changed nothing, and a seed gives the same model again
    return "auto"


def measured(
    spec: JobSpec, model: keras.Model, *, note: Callable[[str, str], None], left: Callable[[], float]
) -> Callable[[Step, Any], Step]:
    """Return what makes `step(batch, rows of large embeddings)`, for arguments of a form, into steps as a job asks."""

    def make(step: Step, form: Any) -> Step:
        if reason := hindrance(model, form):
            if spec.jit_compile == "true":
                note("warning", f"jit_compile: steps are not compiled: {reason}")
            return as_graph(step, form)
        jit = "true" if spec.jit_compile == "auto" and compiled_by_author(model) else jit_of(spec, model)
        return MeasuredSteps(step, form, jit=jit, note=note, left=left)

    return make

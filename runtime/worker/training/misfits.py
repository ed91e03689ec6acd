"""What a model asks of `fit` that a strategy cannot give it: said before it trains, in one sentence.

For workers, and for the process that tries a model before its job starts: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.embeddings.served import ServedLayers, own_options, refuse_options
from elasticdl_nb.runtime.model.loading.compiling import own_methods
from elasticdl_nb.runtime.model.loading.loader import LoadedModel
from elasticdl_nb.runtime.model.loading.losses import is_of_keras
from elasticdl_nb.runtime.parameters.optimizers.rules import why_slots_stay
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.batches import batch_size
from elasticdl_nb.runtime.worker.training.slices import rows_of

_TRAINS = ("train_step", "make_train_function")
_APPLIES = ("apply", "apply_gradients", "scale_loss", "finalize_variable_values")
"""Methods of optimizers that only a worker with the whole model calls."""
_TRIED = 24
"""How many records of a batch are looked at to judge a loss."""
_MEANS = ("sum_over_batch_size", "mean")
"""Reductions that take the mean over records."""
_WITHOUT_SQUARES = ("SGD", "Lion")
"""Optimizers that keep no squares of gradients."""


def makes_own_steps(model: Any) -> bool:
    """Whether the model's class says what a training step is."""
    return bool(own_methods(model) & {*_TRAINS})


def check_for_tables(loaded: LoadedModel) -> None:
    """Raise ModelError if a compiled model's large embeddings cannot be trained in tables."""
    model = loaded.model
    if makes_own_steps(model):
        raise ModelError(f"{type(model).__name__} has a train_step of its own")
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        raise ModelError("the loss is scaled, for mixed_float16")
    if method := _own_method(model.optimizer):
        raise ModelError(f"{type(model.optimizer).__name__} has its own {method}")
    if model.run_eagerly:
        raise ModelError("run_eagerly=True leaves no graph in which a batch's ids could be found ahead")


def check_for_servers(loaded: LoadedModel, spec: JobSpec) -> None:
    """Raise ModelError if parameter servers cannot train a compiled and built model as `fit` would."""
    model = loaded.model
    _refuse_own_steps(model, "ParameterServerStrategy")
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        raise ModelError(
            "optimizer: loss scaling (the policy mixed_float16) does not work on parameter servers; use "
            "mixed_bfloat16, or another strategy than ParameterServerStrategy"
        )
    if model.run_eagerly:
        raise ModelError("compile: run_eagerly=True does not work with ParameterServerStrategy; leave it out")
    if method := _own_method(model.optimizer):
        raise ModelError(
            f"optimizer: {type(model.optimizer).__name__}.{method} is not called with ParameterServerStrategy; leave "
            "it out, or use another strategy"
        )
    _refuse_assigned(loaded, "parameter servers")
    if spec.num_workers > 1:
        _refuse_synchronized(model)
    for variable in model.trainable_variables:
        if getattr(variable, "constraint", None) is not None:
            raise ModelError(
                f"{variable.path}: {type(variable.constraint).__name__} does not work on parameter servers, which know "
                "no constraints; leave it out, or use another strategy than ParameterServerStrategy"
            )
    if takes_means(spec):
        _refuse_uneven_losses(model, "the mean of several workers' gradients")
        if spec.num_ps > 1:
            _refuse_norms(model.optimizer)


def check_fading(layers: ServedLayers, optimizer: Any) -> None:
    """Raise ModelError if what a model's optimizer keeps for rows is to fade and cannot."""
    fading = [spec.name for spec in layers.specs() if spec.bounds is not None and spec.bounds.slot_half_life]
    if fading and optimizer is not None and (reason := why_slots_stay(keras.optimizers.serialize(optimizer))):
        name = type(optimizer).__name__
        raise ModelError(f"embedding {fading[0]}: slot_half_life does not work with the optimizer {name}: {reason}")


def takes_means(spec: JobSpec) -> bool:
    """Whether servers wait for several gradients, and apply their mean."""
    return not spec.use_async and spec.grads_to_wait > 1


def check_for_ring(loaded: LoadedModel, spec: JobSpec) -> None:
    """Raise ModelError if workers cannot train a compiled and built model together as `fit` would alone."""
    model = loaded.model
    if "make_train_function" in own_methods(model):
        raise ModelError(
            f"{type(model).__name__}.make_train_function: with AllreduceStrategy, workers make the steps together and "
            "do not call it; override train_step instead, or use the strategy Local"
        )
    for layer in model._flatten_layers():
        refuse_options(layer.path, own_options(layer), "with AllreduceStrategy, every worker has the whole layer")
    if makes_own_steps(model) and model.run_eagerly:
        raise ModelError(
            f"compile: run_eagerly=True does not work with AllreduceStrategy for {type(model).__name__}, which has a "
            "train_step of its own; leave it out, or use the strategy Local"
        )
    if spec.num_workers > 1:
        _refuse_uneven_losses(loaded.model, "the mean of all workers' gradients")
        _refuse_synchronized(loaded.model)
        if not makes_own_steps(model):  # which put together what is assigned
            _refuse_assigned(loaded, "several workers")


def note_on_embeddings(model: Any) -> str:
    """Return how ordinary embeddings are trained differently from `fit` where gradients travel; else an empty string.

    For an id that occurs several times in a batch, optimizers of Keras square each occurrence's gradient, and add them
    up. Where only the sum of the gradients travels, its square is taken.
    """
    if model.optimizer is None:
        return ""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    name, clips = type(optimizer).__name__, _clips(optimizer)
    layers = [layer for layer in model._flatten_layers() if type(layer) is keras.layers.Embedding and layer.trainable]
    ordinary = [layer.path for layer in layers if layer.built and layer.weights]
    if not ordinary or (name in _WITHOUT_SQUARES and not clips):
        return ""
    what, instead = f"in the squares of {name}", "SGD"
    if name in _WITHOUT_SQUARES:
        what, instead = f"in what {clips} clips", f"an optimizer without {clips}"
    return (
        f"{', '.join(ordinary)}: ids that occur several times in a batch count once {what}, and not once for each time "
        f"as in fit; distribution_strategy=Local, or {instead}, trains as fit does"
    )


def note_on_momentum(optimizer: Any) -> str:
    """Return how an optimizer works better here than in `fit`; else an empty string."""
    if not isinstance(optimizer, keras.optimizers.ScheduleFreeAdamW):
        return ""
    return (
        "optimizer: fit resets the momentum of ScheduleFreeAdamW in every step unless it is built before, as it is "
        "here; so the weights differ from those of fit"
    )


def note_on_tables(layers: ServedLayers, optimizer: Any) -> str:
    """Return how rows in tables are trained differently from `fit`; empty if they are not."""
    config = optimizer.get_config() if layers.layers else {}
    name = type(optimizer).__name__
    decays, momentum = bool(config.get("weight_decay")), bool(config.get("momentum"))
    named = ", ".join(layer.name for layer in layers.layers)
    if not config or (name in ("SGD", "Adagrad") and not decays and not momentum):
        if not (clips := layers.layers and _clips(optimizer)):
            return ""
        return (
            f"{named}: in tables, where {clips} clips the sum of an id's gradients in a batch, and not each of them as "
            "in fit; embedding_tables=False trains as fit does"
        )
    what = "weight decay" if decays else "momentum" if name == "SGD" else f"the moments of {name}"
    return (
        f"{named}: in tables, where {what} changes a row only in steps that use it, and not in every step as in fit; "
        "embedding_tables=False trains as fit does"
    )


def _refuse_own_steps(model: Any, strategy: str) -> None:
    if makes_own_steps(model):
        name = next(name for name in _TRAINS if name in own_methods(model))
        raise ModelError(
            f"{type(model).__name__}.{name}: {strategy} makes the steps itself, so a model cannot have its own; use "
            "the strategy Local, or override compute_loss instead"
        )


def _refuse_uneven_losses(model: Any, what: str) -> None:
    """Refuse losses whose value over a global batch is not the mean, by records, of its parts."""
    for loss in _losses(model):
        if loss.reduction not in _MEANS:
            raise ModelError(
                f"loss: reduction={loss.reduction!r} of {loss.name} does not follow from {what}; use "
                "'sum_over_batch_size', or a single worker"
            )


def _clips(optimizer: Any) -> str:
    """The argument by which an optimizer clips gradients, or an empty string."""
    return next((name for name in ("clipnorm", "global_clipnorm", "clipvalue") if getattr(optimizer, name, None)), "")


def _refuse_norms(optimizer: Any) -> None:
    if (name := _clips(optimizer)) and name != "clipvalue":
        raise ModelError(
            f"optimizer: {name} of the mean of several workers' gradients needs the whole gradient in one place, "
            "which several parameter servers do not have; use num_ps=1, grads_to_wait=1, or clipvalue"
        )


def check_even(loaded: LoadedModel, batch: Any) -> str:
    """Raise ModelError if a batch's loss is not the mean of its records' losses, so that workers cannot share a batch.

    That is so if it is not one number (Keras minimizes the sum then), and where records are compared with each other. A
    loss that depends on chance is not judged. Masked outputs are close enough; what is returned says so, or is empty.
    """
    records = min(batch_size(batch[0]), _TRIED)
    first = max(1, records // 3)
    if records < 2 or not loaded.has_loss:
        return ""

    def part(start: int, stop: int) -> tuple[Any, float]:
        outputs, loss = loaded.forward(rows_of(batch, start, stop), training=False)
        if loss.shape.rank:
            raise ModelError(
                f"loss: it has the shape {tuple(loss.shape)} for {stop - start} records, which Keras adds up, so "
                "several workers cannot share a batch; return its mean, or use a single worker"
            )
        return outputs, float(loss)

    kept = loaded.kept_metrics()
    outputs, whole = part(0, records)
    again = part(0, records)[1]
    of_parts = (first * part(0, first)[1] + (records - first) * part(first, records)[1]) / records
    loaded.give_back_metrics(kept)
    if whole != again:
        return ""
    coarse = "16" in keras.config.dtype_policy().compute_dtype
    if abs(whole - of_parts) <= (0.05 if coarse else 1e-3) * max(abs(whole), abs(of_parts)):
        return ""
    if not any(getattr(one, "_keras_mask", None) is not None for one in tf.nest.flatten(outputs)):
        raise ModelError(
            "loss: a batch's loss is not the mean of the losses of its records, so several workers cannot share "
            "a batch as one worker would train on it; use a single worker, or the strategy Local"
        )
    return (
        "loss: outputs are masked, so each worker's mean is over what the masks leave of its part of a batch; one "
        "worker would take the mean over the whole batch"
    )


def _refuse_assigned(loaded: LoadedModel, where: str) -> None:
    for variable in loaded.assigned_in_call():
        raise ModelError(
            f"{variable.path}: a layer assigns this weight while it is called, which does not work with {where}; leave "
            "the layer out, or use the strategy Local"
        )


def _refuse_synchronized(model: Any) -> None:
    for layer in model._flatten_layers():
        if getattr(layer, "synchronized", False):
            raise ModelError(
                f"{layer.path}: synchronized=True does not work with several workers, each of which normalizes its own "
                "batch; leave it out, or use a single worker"
            )


def _own_method(optimizer: Any) -> str:
    """The method of `_APPLIES` that an optimizer's class defines instead of Keras, or an empty string."""
    owners = {name: next(kind for kind in type(optimizer).__mro__ if name in vars(kind)) for name in _APPLIES}
    return next((name for name, owner in owners.items() if not is_of_keras(owner)), "")


def _losses(model: Any) -> Iterator[keras.losses.Loss]:
    given = getattr(model._compile_loss, "_user_loss", None)
    yield from (loss for loss in tf.nest.flatten(given) if isinstance(loss, keras.losses.Loss))

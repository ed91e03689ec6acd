"""Callbacks that a job cannot call as `fit` does: refused by name before anything is trained."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import keras

from elasticdl_nb.runtime.errors import ModelError

_KEEP_WEIGHTS = ("ModelCheckpoint", "OrbaxCheckpoint")
"""Callbacks that write the model whenever they like."""


def check_callbacks(callbacks: Sequence[keras.callbacks.Callback], *, alone: bool) -> None:
    """Raise ModelError for a callback that does not work in this job; `alone` says that one worker has the model."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ModelError(
                "callbacks: BackupAndRestore does not work in jobs, which make checkpoints of their own and go back to "
                "them; leave it out, and give checkpoint_steps for more of them"
            )
        if isinstance(callback, keras.callbacks.TensorBoard) and importlib.util.find_spec("tensorboard") is None:
            raise ModelError(
                "callbacks: TensorBoard needs the package tensorboard, which is not installed; install it, or leave "
                "the callback out, as every job writes its loss and metrics for TensorBoard"
            )
        if isinstance(callback, keras.callbacks.SwapEMAWeights) and not alone:
            raise ModelError(
                "callbacks: SwapEMAWeights does not work where workers share the evaluations around which it exchanges "
                "weights; leave it out, or use the strategy Local"
            )


def check_callbacks_with_tables(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Raise ModelError for a callback that keeps the model's weights itself, because rows are not among them."""
    for callback in callbacks:
        name = type(callback).__name__
        what = ""
        if getattr(callback, "restore_best_weights", False):
            what = f"{name}(restore_best_weights=True)"
        elif any(isinstance(callback, getattr(keras.callbacks, kind, ())) for kind in _KEEP_WEIGHTS):
            what = name
        if what:
            raise ModelError(
                f"callbacks: {what} works neither with embeddings in tables nor with large embeddings on parameter "
                "servers; leave it out"
            )

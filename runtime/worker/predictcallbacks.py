"""The callbacks of a prediction, called as `predict(callbacks=…)` does: in the one worker that predicts.

For workers: importing this module loads TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from elasticdl_nb.runtime.errors import ModelError
from elasticdl_nb.runtime.model.loading.loader import LoadedModel

_HOOKS = ("on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end")


def check_predict_callbacks(callbacks: Sequence[keras.callbacks.Callback], workers: int) -> None:
    """Raise ModelError for a callback that is called in predictions, if several workers share one."""
    for callback in callbacks:
        hooks = [hook for hook in _HOOKS if _defines(callback, hook)]
        if hooks and workers > 1:
            raise ModelError(
                f"callbacks: {type(callback).__name__}.{hooks[0]} does not work with several workers, which share the "
                "batches of a prediction; use num_workers=1, or leave the callback out"
            )


def _defines(callback: Any, hook: str) -> bool:
    return getattr(getattr(callback, hook), "__func__", None) is not getattr(keras.callbacks.Callback, hook)


class PredictCallbacks:
    """The callbacks of a model around the batches that this process predicts; there may be none."""

    def __init__(self, loaded: LoadedModel, workers: int) -> None:
        self._loaded, self._batch, self._begun = loaded, 0, False
        callbacks = loaded.callbacks()
        check_predict_callbacks(callbacks, workers)
        self._called = any(_defines(callback, hook) for callback in callbacks for hook in _HOOKS)
        self._list = keras.callbacks.CallbackList(callbacks, epochs=1, verbose=0) if self._called else None

    @contextmanager
    def batch(self) -> Iterator[dict[str, Any]]:
        """In this block, a batch is predicted; its outputs are to be put into the logs that this yields."""
        logs: dict[str, Any] = {}
        self._begin()
        self._call("on_predict_batch_begin", self._batch)
        yield logs
        self._call("on_predict_batch_end", self._batch, logs)
        self._batch += 1

    def end(self) -> None:
        """All has been predicted."""
        self._begin()
        self._call("on_predict_end")

    def _begin(self) -> None:
        if self._list is not None and not self._begun:
            self._begun = True
            self._list.set_model(self._loaded.model)
            self._call("on_predict_begin")

    def _call(self, hook: str, *given: Any) -> None:
        if self._list is not None:
            with self._loaded.user_code(f"{hook}() of a callback"):
                getattr(self._list, hook)(*given)

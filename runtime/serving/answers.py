"""Answers about the model, whatever the protocol: predictions, metadata, status."""

from __future__ import annotations

import time
from collections.abc import Collection

from elasticdl_nb.runtime.serving.batching import Outputs
from elasticdl_nb.runtime.serving.form import Values, checked
from elasticdl_nb.runtime.serving.problems import Problem, Refused, invalid
from elasticdl_nb.runtime.serving.versions import Version, Versions

SIGNATURE = "serving_default"
OTHER_VERBS = {"classify": "classification", "regress": "regression"}


class Answers:
    """Answers for one model, called `name`; requests are given `timeout` seconds unless they say otherwise."""

    def __init__(self, name: str, versions: Versions, timeout: float) -> None:
        self.name, self._versions, self._timeout = name, versions, timeout

    def version(self, name: str, number: int | None = None, label: str = "") -> Version:
        """Return the version that a request names; raises Refused if it is not served."""
        if name != self.name:
            wanted = "Latest" if number is None else "Specific"
            raise Refused(
                Problem.UNKNOWN, f"Servable not found for request: {wanted}({name}); the model is called {self.name}"
            )
        if label:
            raise invalid(f"versions have no labels here, such as {label!r}: use their numbers, or none for the newest")
        return self._versions.get(number)

    @staticmethod
    def check_signature(signature: str) -> None:
        """Raise Refused for a signature that the model does not have."""
        if signature not in ("", SIGNATURE):
            raise invalid(f"Serving signature name: {signature!r} not found in signature def; there is {SIGNATURE!r}")

    async def predict(
        self, version: Version, inputs: Values, seconds: float | None = None, wanted: Collection[str] = ()
    ) -> Outputs:
        """Return the outputs for a request's inputs, those that are wanted; raises Refused."""
        for name in wanted:
            if name not in version.model.outputs:
                raise invalid(
                    f"output tensor alias not found in signature: {name!r}; there is {', '.join(version.model.outputs)}"
                )
        allowed = self._timeout if seconds is None else min(seconds, self._timeout)
        outputs = await version.batcher.predict(checked(inputs, version.model.inputs), time.monotonic() + allowed)
        return {name: value for name, value in outputs.items() if not wanted or name in wanted}

    @staticmethod
    def other_verb(verb: str) -> Refused:
        """Return why `classify` and `regress` are refused: these models take tensors, not examples."""
        return invalid(
            f"Expected {OTHER_VERBS[verb]} signature method_name to be tensorflow/serving/{verb}. "
            "Was: tensorflow/serving/predict"
        )

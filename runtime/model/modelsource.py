"""Where a job's model comes from: the job's own zoo, or a trained model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.saving.trained import read_trained_model
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


@dataclass(frozen=True)
class ModelSource:
    """The model's definition and, for a trained model, its weights file and the variables in it."""

    definition: ModelDefinition
    weights: str = ""
    variables: Sequence[pb.Variable] = ()

    @classmethod
    def of(cls, spec: JobSpec, folder: JobFolder) -> ModelSource:
        """Return where this job's model comes from."""
        if spec.kind == "train":
            return cls(ModelDefinition.from_spec(spec, os.fspath(folder.zoo)))
        trained, definition = read_trained_model(spec.trained_model)
        return cls(definition.overridden(spec), definition.weights, trained.variables)

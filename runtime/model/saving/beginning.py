"""A trained model as the checkpoint that a job begins with, whatever its strategy.

Reading it does not need TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.model.saving.trained import MESSAGE, read_trained_model
from elasticdl_nb.runtime.parameters.checkpoints.local import MODEL, TRAINED
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.storage import checkpoints


def is_trained_model(path: str) -> bool:
    """Whether a path on this machine is a trained model's directory."""
    return os.path.isfile(os.path.join(path, MESSAGE))


def checkpoint_of(trained_model: str, target: Path, job: str) -> Path:
    """Make a checkpoint of a trained model's weights and what its layers keep; return `target`, its folder.

    Raises OptionError if that is no trained model, and OSError.
    """
    if target.exists():  # by a master that died
        return target
    message, definition = read_trained_model(trained_model)
    aside = Path(durable.aside_name(target))
    aside.mkdir()
    try:
        shutil.copyfile(definition.weights, aside / MODEL)
        (aside / MODEL).with_suffix(".pb").write_bytes(pb.Variables(variables=message.variables).SerializeToString())
        with contextlib.suppress(FileNotFoundError):
            for file in (Path(definition.state) / "kept.json",) if definition.state else ():
                shutil.copyfile(file, aside / file.name)
        (aside / TRAINED).write_text(trained_model)
        checkpoints.seal(aside, 0, job)
        durable.put(aside, target)
    finally:
        durable.remove(aside)
    return target

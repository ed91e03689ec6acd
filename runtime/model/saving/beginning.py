"""A trained model as the checkpoint that a job begins with, whatever its strategy.

The master does this, so nothing here loads TensorFlow. The client has checked the trained model by then.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.parameters.checkpoints.local import MODEL, TABLES, TRAINED
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.storage import checkpoints

MESSAGE = "trained_model.pb"
KEPT = "kept.json"
BLUEPRINT = "blueprint.json"


def is_trained_model(path: str) -> bool:
    """Whether a path on this machine is a trained model's directory."""
    return os.path.isfile(os.path.join(path, MESSAGE))


def checkpoint_of(trained_model: str, target: Path, job: str) -> Path:
    """Make a checkpoint of a trained model's weights and what its layers keep; return `target`, its folder.

    Raises OSError.
    """
    if target.exists():  # by a master that died
        return target
    message = pb.TrainedModel.FromString(Path(trained_model, MESSAGE).read_bytes())
    aside = Path(durable.aside_name(target))
    aside.mkdir()
    try:
        shutil.copyfile(Path(trained_model, message.params_filename), aside / MODEL)
        (aside / MODEL).with_suffix(".pb").write_bytes(pb.Variables(variables=message.variables).SerializeToString())
        kept = Path(trained_model, message.state, KEPT)
        if message.state and kept.exists():
            shutil.copyfile(kept, aside / KEPT)
        if message.tables:
            _link(Path(trained_model, message.tables), aside / TABLES)
        (aside / TRAINED).write_text(trained_model)
        checkpoints.seal(aside, 0, job)
        durable.put(aside, target)
    finally:
        durable.remove(aside)
    return target


def _link(source: Path, target: Path) -> None:
    """Make a folder with the same files, which nobody ever changes; they are copied only to other file systems."""
    target.mkdir()
    for file in source.iterdir():
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copyfile(file, target / file.name)

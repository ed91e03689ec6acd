"""The columns of the table that a model was trained on before, for a job with a label that starts from its weights."""

from __future__ import annotations

from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.contract import TABLE_INPUT
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.tables.tablerecord import FILE, TableRecord, read_record


def earlier_record(spec: JobSpec) -> TableRecord | None:
    """Return the record of what the job's `checkpoint_dir_for_init` was trained on; None if that was no table.

    A checkpoint does not hold it, but its job's folder does. Raises OptionError if that is gone.
    """
    from elasticdl_nb.runtime.model.saving.beginning import is_trained_model
    from elasticdl_nb.runtime.model.saving.trained import read_trained_model
    from elasticdl_nb.runtime.storage import checkpoints
    from elasticdl_nb.runtime.storage.jobfolder import JobFolder

    given = spec.checkpoint_dir_for_init
    if not given:
        return None
    if is_trained_model(given):
        _, definition = read_trained_model(given)
        zoo, input_fn = Path(definition.zoo), definition.input_fn
    else:
        job = checkpoints.Manifest.read(checkpoints.find(given)).job
        folder = next((one for one in JobFolder.all() if one.identity == job), None)
        if folder is None:
            raise OptionError(
                "checkpoint_dir_for_init",
                f"{given} is of a job that has been deleted, so what its columns were is not known; give the output of "
                "that job instead",
            )
        zoo, input_fn = folder.zoo, folder.spec().input_fn
    return read_record((zoo / FILE).read_bytes()) if input_fn == TABLE_INPUT else None

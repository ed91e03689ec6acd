"""What can be found wrong with a job's code, data and output without starting its workers.

The client checks before it starts a job. On a cluster, the master's pod checks too, as only pods can see the paths.
"""

from __future__ import annotations

import os
from pathlib import Path

from elasticdl_nb.given.paths import check_checkpoint_dir, check_output
from elasticdl_nb.runtime.errors import DataError, OptionError
from elasticdl_nb.runtime.platform import gpus
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.spec import JobSpec


def check_code(spec: JobSpec, zoo: Path, *, installed_here: bool = True) -> str:
    """Check the model's code in its zoo, or the trained model's code; with `installed_here`, its requirements as well.

    Returns the name of its custom_data_reader, if it has one. Raises ModelError and OptionError.
    """
    from elasticdl_nb.runtime.model.reading.missing import check_imports
    from elasticdl_nb.runtime.model.reading.modelcheck import check_model, check_requirements, data_reader_of

    folder = os.fspath(zoo)
    if spec.kind != "train":
        folder, spec = _trained_code(spec)
    if installed_here:
        check_requirements(folder)
        check_imports(folder, spec)
    check_model(folder, spec)
    return data_reader_of(folder, spec)


def check_inputs_and_output(spec: JobSpec, *, reads_files: bool) -> JobSpec:
    """Check the job's paths; return the job, with its trained model's data_reader_params if it `reads_files` itself.

    Raises OptionError and DataError.
    """
    if spec.follow and not reads_files:
        raise OptionError("follow", "the model has a custom_data_reader, whose data does not consist of files")
    if reads_files:
        spec = _with_trained_reader_params(spec)
        _check_data(spec)
    _check_checkpoint(spec)
    if not spec.on_kubernetes:
        gpus.check(spec)
    Network.of()
    check_output(spec)
    check_checkpoint_dir(spec)
    return spec


def _trained_code(spec: JobSpec) -> tuple[str, JobSpec]:
    """Return the zoo of the job's trained model, and the job with the model's own names filled in."""
    from elasticdl_nb.runtime.model.contract import CLASS_NAMES
    from elasticdl_nb.runtime.model.saving.trained import read_trained_model

    _, trained = read_trained_model(spec.trained_model)
    trained = trained.overridden(spec)
    names = {role: getattr(trained, role) for role in CLASS_NAMES}
    return trained.zoo, spec.replace(model_def=trained.model_def, params=trained.params, **names)


def _with_trained_reader_params(spec: JobSpec) -> JobSpec:
    """Return the job with the data_reader_params of its trained model, unless it has its own."""
    if spec.kind == "train" or spec.data_reader_params:
        return spec
    from elasticdl_nb.given.readerparams import inherited
    from elasticdl_nb.given.tables import params_of_table
    from elasticdl_nb.runtime.model.saving.trained import read_trained_model
    from elasticdl_nb.runtime.spec.literals import parse_arguments

    message, definition = read_trained_model(spec.trained_model)
    trained = params_of_table(definition.zoo, definition.input_fn) or parse_arguments(message.data_reader_params)
    if not trained:
        return spec
    return spec.replace(data_reader_params=inherited(spec.data, trained, labels_may_lack=spec.kind == "predict"))


def _check_data(spec: JobSpec) -> None:
    from elasticdl_nb.runtime.data.reader import TYPES_DEPEND, open_reader
    from elasticdl_nb.runtime.data.tablereader import TableReader

    for option in ("data", "validation_data"):
        paths = getattr(spec, option)
        try:
            if not paths:
                continue
            follow = spec.follow and option == "data"
            reader = open_reader(paths, spec.data_reader_params, option, follow=follow)
            if follow and spec.label and reader.form == "strings":
                raise OptionError("follow", TYPES_DEPEND)
            if follow and isinstance(reader, TableReader) and not spec.label:
                assert reader.metadata is not None  # there may be no records yet
            elif spec.label and isinstance(reader, TableReader):
                reader.check_records()  # its columns are looked at later, and not all of them are used
            else:
                reader.check()
        except DataError as error:
            raise DataError(f"{option}: {error}") from None


def _check_checkpoint(spec: JobSpec) -> None:
    from elasticdl_nb.runtime.model.saving.beginning import is_trained_model
    from elasticdl_nb.runtime.model.saving.trained import read_trained_model
    from elasticdl_nb.runtime.storage import checkpoints as folders

    try:
        if is_trained_model(spec.checkpoint_dir_for_init):
            read_trained_model(spec.checkpoint_dir_for_init)
        elif spec.checkpoint_dir_for_init:
            folders.find(spec.checkpoint_dir_for_init)
    except DataError as error:
        raise OptionError("checkpoint_dir_for_init", str(error)) from None

"""The model zoo of a model trained in SQL: the model's code, its record, and a module that connects the two."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from elasticdl_nb.given.namedobjects import CAPTURED_MODULE, name_objects
from elasticdl_nb.runtime.model.contract import SQL_MODEL
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.sql.models.finding import Model
from elasticdl_nb.sql.record.modelrecord import ModelRecord
from elasticdl_nb.sql.record.recordjson import RECORD_FILE, record_text

MODULE = SQL_MODEL
_GENERATED = f'''"""The model of a SQL statement, made from its record in {RECORD_FILE}, beside this file."""

from pathlib import Path

from elasticdl_nb.sql.zoo.sqlmodel import SqlModel

_model = SqlModel(Path(__file__).with_name("{RECORD_FILE}"))
custom_model = _model.custom_model
input_fn = _model.input_fn
loss = _model.loss
optimizer = _model.optimizer
eval_metrics_fn = _model.eval_metrics_fn
callbacks = _model.callbacks


def __getattr__(name):
    return _model.metric(name)
'''


def code_place(model: Model) -> tuple[str, str]:
    """Return the zoo's module that contains the model's code, and the model's name in it.

    Raises OptionError for a class whose code cannot be put into a zoo.
    """
    if model.value is None:
        return model.module, model.class_name
    module, _, name = name_objects("train", {"model_def": model.value}).options["model_def"].rpartition(".")
    return module, name


def write_zoo(model: Model, record: ModelRecord, folder: Path) -> None:
    """Write the model's code and its record."""
    if model.value is None:
        copy_built_in(folder)
    else:
        _write_class(model, folder)
    write_record(folder, record)


def class_files(model: Model) -> dict[str, str | bytes]:
    """Return the files, as texts where possible, of a model that is defined where the statement runs.

    A built-in model has none.
    """
    if model.value is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        _write_class(model, Path(folder))
        found = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): _content(path) for path in found}


def _content(path: Path) -> str | bytes:
    content = path.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def copy_built_in(folder: Path) -> None:
    """Copy the models that come with elasticdl_nb."""
    shutil.copytree(built_in_zoo(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def write_record(folder: Path, record: ModelRecord) -> None:
    """Write a model's record, and the module that makes the model from it."""
    (folder / f"{MODULE}.py").write_text(_GENERATED)
    (folder / RECORD_FILE).write_text(record_text(record))


def _write_class(model: Model, folder: Path) -> None:
    """Write the code of a class that is defined in a notebook or script, or copy the folder of its module."""
    from elasticdl_nb.capture import capture_objects
    from elasticdl_nb.capture import write_zoo as write_captured
    from elasticdl_nb.given.zoosource import fetch_zoo

    named = name_objects("train", {"model_def": model.value})
    if named.captured:
        captured = capture_objects(dict(named.captured))
        write_captured(captured, folder, CAPTURED_MODULE)
        (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in captured.requirements))
    else:
        fetch_zoo(os.fspath(named.options.get("model_zoo", "")), folder)

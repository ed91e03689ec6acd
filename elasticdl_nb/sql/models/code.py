"""The model zoo of a model that is trained in SQL."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from elasticdl_nb.given.namedobjects import CAPTURED_MODULE, name_objects
from elasticdl_nb.runtime.model.reading.modelcheck import built_in_zoo
from elasticdl_nb.sql.models.finding import Model
from elasticdl_nb.sql.models.store import RECORD

MODULE = "sql_model"
_GENERATED = '''"""The model of a SQL statement, which stands in sql_model.json beside this file."""

from pathlib import Path

from elasticdl_nb.sql.zoo.trained import SqlModel

_model = SqlModel(Path(__file__).with_name("sql_model.json"))
custom_model = _model.custom_model
input_fn = _model.input_fn
loss = _model.loss
optimizer = _model.optimizer
eval_metrics_fn = _model.eval_metrics_fn
callbacks = _model.callbacks


def __getattr__(name):
    return _model.metric(name)
'''


def write_zoo(model: Model, record: dict[str, Any], folder: Path) -> None:
    """Write the model's code and how the model is made; the record learns where the code is found."""
    if model.value is None:
        copy_built_in(folder)
    else:
        _write_class(model, folder, record)
    write_record(folder, record)


def class_files(model: Model, record: dict[str, Any]) -> dict[str, str]:
    """Return the files of a model that is defined where the statement runs; none for a pre-built one."""
    if model.value is None:
        return {}
    with tempfile.TemporaryDirectory(prefix="elasticdl-sql-") as folder:
        _write_class(model, Path(folder), record)
        found = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
        return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


def copy_built_in(folder: Path) -> None:
    """Copy the models that come with elasticdl_nb."""
    shutil.copytree(built_in_zoo(), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write how a model is made, and the module that makes it so."""
    (folder / f"{MODULE}.py").write_text(_GENERATED)
    (folder / RECORD).write_text(json.dumps(record))


def _write_class(model: Model, folder: Path, record: dict[str, Any]) -> None:
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
    record["module"], _, record["class"] = named.options["model_def"].rpartition(".")

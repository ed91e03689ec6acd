"""The model store: trained models by name. Each is the directory that its training job wrote, with its record."""

from __future__ import annotations

import datetime
import json
import os
import re
from dataclasses import dataclass

import pyarrow as pa

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.control.status import format_metrics
from elasticdl_nb.runtime.data import files
from elasticdl_nb.runtime.errors import OptionError, did_you_mean
from elasticdl_nb.runtime.model.saving.trained import MESSAGE
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.storage import versions
from elasticdl_nb.runtime.storage.jobfolder import jobs_root
from elasticdl_nb.runtime.storage.publish import is_remote
from elasticdl_nb.sql.language.errors import SqlError
from elasticdl_nb.sql.language.statements import Name
from elasticdl_nb.sql.record.modelrecord import ModelRecord
from elasticdl_nb.sql.record.recordjson import RECORD_FILE, read_record
from elasticdl_nb.tables.jsonfields import RecordError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


@dataclass(frozen=True)
class StoredModel:
    """A trained model: its name, the path or URL of its directory, what training left there, and how it was made."""

    name: str
    path: str
    message: pb.TrainedModel
    record: ModelRecord

    @property
    def created(self) -> datetime.datetime:
        """When its training ended, in this machine's time zone."""
        return datetime.datetime.fromtimestamp(self.message.created_at).astimezone()

    def facts(self) -> pa.Table:
        """Return what is known about the model, one fact per row."""
        facts = [
            ("model", self.record.model),
            ("statement", self.record.statement),
            *((f"parameter :{name}", json.dumps(value)) for name, value in self.record.given.items()),
            ("created", self.created.strftime("%Y-%m-%d %H:%M:%S %Z")),
            *(("feature", line) for line in self.record.described),
            ("label", self.record.label.column if self.record.label else ""),
            *([("train.follow", self.record.watermark)] if self.record.watermark else []),
            *((f"params.{key}", json.dumps(value)) for key, value in self.record.params.items()),
            *((f"train.{key}", json.dumps(value)) for key, value in self.record.job.items()),
            *((f"metrics.{key}", f"{value:.6g}") for key, value in sorted(self.message.metrics.items())),
            ("steps", str(self.message.step)),
            ("directory", self.path),
        ]
        return pa.table({"fact": [fact for fact, _ in facts], "value": [str(value) for _, value in facts]})


class ModelStore:
    """Trained models in the directories below a path or fsspec URL."""

    def __init__(self, path: str | None = None) -> None:
        """Raises OptionError("store", …) for a URL that cannot be reached or a path that is a file."""
        given = os.fspath(path or "") or os.fspath(jobs_root().parent / "models")
        self.path = files.plain(given).rstrip("/")
        self._fs, self._root = files.file_system(self.path, "store")
        try:
            is_file = self._fs.isfile(self._root)
        except OSError as error:
            raise OptionError("store", f"{given} cannot be reached: {error}") from None
        if is_file:
            raise OptionError("store", f"{given} is a file; models are stored in a directory")

    def names(self) -> list[str]:
        """Return the names of the models."""
        found = {os.path.basename(os.path.dirname(path)) for path in self._fs.glob(f"{self._root}/*/{MESSAGE}")}
        if not is_remote(self.path) and os.path.isdir(self._root):
            found |= {entry.name for entry in os.scandir(self._root) if versions.is_version_folder(entry.path)}
        names = sorted(found)
        return [name for name in names if _NAME.fullmatch(name) and not name.endswith((".partial", ".old"))]

    def location(self, name: Name) -> str:
        """Return where the model of that name is, or would be; raise SqlError if no directory can have that name."""
        if not _NAME.fullmatch(name.text):
            raise SqlError(
                f"{name.text!r} cannot be the name of a stored model; use letters, digits, '_', '-' and '.'",
                name.position,
            )
        return f"{self.path}/{name.text}"

    def has(self, name: Name) -> bool:
        """Whether a model of that name is stored."""
        self.location(name)
        return bool(self._fs.exists(f"{self._root}/{self._newest(name.text)}/{MESSAGE}"))

    def _newest(self, name: str) -> str:
        """Return where a model is below the store: its own folder, or its newest version if it is published."""
        if is_remote(self.path):
            return name
        return os.path.relpath(versions.newest(f"{self._root}/{name}"), self._root)

    def find(self, name: Name) -> StoredModel:
        """Return the model of that name; raise SqlError, with the nearest names, if there is none."""
        self.location(name)
        if not self.has(name):
            known = self.names()
            near = did_you_mean(name.text, known)
            listed = f" There are: {', '.join(known[:10])}" if known and not near else ""
            raise SqlError(f"there is no trained model {name.text!r} in {self.path}.{near}{listed}", name.position)
        try:
            return self._read(name.text)
        except SqlError as error:
            raise error.at(name.position) from None
        except RecordError as error:
            raise SqlError(f"the model {name} in {self.path} cannot be used: {error}", name.position) from None

    def _read(self, name: str) -> StoredModel:
        """Return a model; raise SqlError if it was not trained in SQL, and RecordError."""
        place = self._newest(name)
        root = f"{self._root}/{place}"
        message = pb.TrainedModel.FromString(self._fs.cat_file(f"{root}/{MESSAGE}"))
        try:
            record = read_record(self._fs.cat_file(f"{root}/{message.model_zoo}/{RECORD_FILE}"))
        except FileNotFoundError:
            raise SqlError(f"{self.path}/{name} was not trained in SQL; it can only be used in Python") from None
        return StoredModel(name, f"{self.path}/{place}", message, record)

    def table(self) -> pa.Table:
        """Return the models that were trained in SQL, one per row. A model that cannot be used has the reason."""
        rows: list[tuple[str, str, str, datetime.datetime | None, str, str]] = []
        for name in self.names():
            try:
                model = self._read(name)
            except SqlError:
                continue
            except RecordError as error:
                rows.append((name, "", "", None, f"cannot be used: {error}", ""))
                continue
            metrics = format_metrics(dict(model.message.metrics))
            given = ", ".join(f":{key} = {json.dumps(value)}" for key, value in model.record.given.items())
            rows.append((name, model.record.model, metrics, model.created, model.record.statement, given))
        columns = list(zip(*rows, strict=True)) or [()] * 6
        types = (pa.string(), pa.string(), pa.string(), pa.timestamp("s"), pa.string(), pa.string())
        names = ("name", "model", "metrics", "created", "statement", "parameters")
        columns[3] = tuple(when and when.replace(tzinfo=None) for when in columns[3])
        return pa.table([pa.array(column, kind) for column, kind in zip(columns, types, strict=True)], names=names)

    def drop(self, name: Name, *, missing_ok: bool = False) -> str:
        """Delete a model and return a message; raise SqlError if there is none, unless `missing_ok`."""
        if missing_ok and not self.has(name):
            return f"there was no model {name.text}"
        if not self.has(name):
            self.find(name)
        if not is_remote(self.path):
            directory = f"{self._root}/{name.text}"
            durable.clear_left_behind(directory)
            durable.take_away(directory)
            return f"dropped model {name.text}"
        # The message comes first: without it, what an interrupt leaves is not taken for a model.
        self._fs.rm_file(f"{self._root}/{name.text}/{MESSAGE}")
        self._fs.rm(f"{self._root}/{name.text}", recursive=True)
        return f"dropped model {name.text}"

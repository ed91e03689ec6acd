"""One version of a job's model, made of a checkpoint."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from elasticdl_nb.runtime import durable
from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.model.saving.beginning import KEPT, MESSAGE
from elasticdl_nb.runtime.model.saving.trained import PARAMETERS, TABLES
from elasticdl_nb.runtime.parameters.checkpoints.chain import Files, checkpoint_files
from elasticdl_nb.runtime.parameters.checkpoints.local import is_local
from elasticdl_nb.runtime.parameters.checkpoints.snapshot import FILE
from elasticdl_nb.runtime.protocol import trained_model_pb2 as pb
from elasticdl_nb.runtime.publishing.tables import Before, DamagedBefore, TablesWriter
from elasticdl_nb.runtime.publishing.weights import DenseWeights, copy_weights
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import usedfiles
from elasticdl_nb.runtime.storage.checkpoints import QUEUE, Manifest, verify
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.publish import local_path
from elasticdl_nb.runtime.storage.versions import (
    VersionRecord,
    clear_left_behind,
    next_number,
    prune,
    records_in,
    records_of,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Published:
    """What became of a checkpoint: the number of its version, and whether that has only what has changed."""

    number: int
    is_delta: bool = False


def publish(folder: JobFolder, spec: JobSpec, checkpoint: Path) -> Published | None:
    """Write a version of a checkpoint into the job's output, and remove those for which there is no room.

    Returns None if there is nothing to do: the checkpoint has a version, or the job has written its last one. Raises
    DataError for a checkpoint that is damaged or gone, and OSError, and leaves nothing behind then.
    """
    output = local_path(spec.output)
    output.mkdir(parents=True, exist_ok=True)
    clear_left_behind(output)
    while True:
        mine = [one for one in records_of(output) if one[2].job == folder.identity]
        if mine and (mine[-1][2].final or mine[-1][2].checkpoint == checkpoint.name):
            return None
        target = output / str(next_number(output))
        aside = Path(durable.aside_name(target))
        try:
            with _held(checkpoint, folder) as there:
                version = partial(_Version, folder, spec, there, aside, checkpoint.name)
                try:
                    is_delta = version(mine[-1][1] if mine else None).write()
                except DamagedBefore as error:
                    logger.warning("a version is written whole: %s", error)
                    durable.remove(aside)
                    is_delta = version(None).write()
            durable.put(aside, target, overwrite=False)
        except FileExistsError:
            if not target.exists():
                raise
            continue  # by another process of this job, or by another job
        finally:
            durable.remove(aside)
        prune(output, spec.keep_published)
        return Published(int(target.name), is_delta)


@contextlib.contextmanager
def _held(checkpoint: Path, folder: JobFolder) -> Iterator[Path]:
    """Give a checkpoint's files other names within this block, so that they stay if the job removes it."""
    name = checkpoint.parent / f"held-{folder.identity}"
    durable.clear_left_behind(name)
    held = Path(durable.aside_name(name))  # the process of a master that was killed may still hold another one
    try:
        try:
            held.mkdir()
            for file in checkpoint.iterdir():
                os.link(file, held / file.name)
        except OSError:
            if not checkpoint.exists():
                raise DataError(f"{checkpoint} has been removed") from None
            yield checkpoint
        else:
            yield held
    finally:
        durable.remove(held)


class _Version:
    """A version on its way from a checkpoint to the folder `aside`; `before` is the last one, if there is any."""

    def __init__(
        self, folder: JobFolder, spec: JobSpec, checkpoint: Path, aside: Path, name: str, before: Path | None
    ) -> None:
        self._folder, self._spec, self._checkpoint, self._aside = folder, spec, checkpoint, aside
        self._name, self._before = name, before
        self._message = pb.TrainedModel.FromString((folder.form / MESSAGE).read_bytes())

    def write(self) -> bool:
        """Write everything; return whether tables have only what has changed."""
        step = verify(self._checkpoint, contents_of=self._read_here())
        manifest = Manifest.read(self._checkpoint)
        state = json.loads((self._checkpoint / QUEUE).read_bytes())
        self._copy_form()
        rollbacks = int(state.get("rollbacks", 0))
        is_delta, follows = self._write_weights(rollbacks)
        if usedfiles.KEY in state:
            (self._aside / usedfiles.NAME).write_text(json.dumps(state[usedfiles.KEY]))
        now = time.time()
        record = VersionRecord(
            self._folder.identity, step, records_in(state), manifest.date, now, checkpoint=self._name,
            follows=follows, rollbacks=rollbacks,
        )  # fmt: skip
        record.write(self._aside)
        self._message.step, self._message.created_at = step, now
        (self._aside / MESSAGE).write_bytes(self._message.SerializeToString(deterministic=True))
        return is_delta

    def _read_here(self) -> list[str]:
        """The files whose contents are checked first; those of servers have checksums within."""
        return [path.name for path in self._checkpoint.iterdir() if not FILE.fullmatch(path.name)]

    def _copy_form(self) -> None:
        form, message = self._folder.form, self._message
        shutil.copytree(form / message.model_zoo, self._aside / message.model_zoo)
        if message.state:
            shutil.copytree(form / message.state, self._aside / message.state)
            if (self._checkpoint / KEPT).exists():
                shutil.copyfile(self._checkpoint / KEPT, self._aside / message.state / KEPT)

    def _write_weights(self, rollbacks: int) -> tuple[bool, list[list[str]]]:
        parameters, chains = self._aside / self._message.params_filename, self._chains()
        dense = None
        if is_local(self._checkpoint):
            del self._message.variables[:]
            self._message.variables.extend(copy_weights(self._checkpoint, parameters))
        else:
            dense = DenseWeights(self._folder.form / PARAMETERS)
        is_delta = False
        follows: list[list[str]] = []
        if chains:
            number = self._aside.name.split(".")[1]
            writer = TablesWriter(
                self._aside / TABLES, chains, self._spec.table_files_dtype, f"layer-{number}",
                before=self._basis(rollbacks), dense=dense,
            )  # fmt: skip
            self._message.tables_digest = writer.write()
            self._message.tables = TABLES
            is_delta, follows = writer.is_delta, writer.follows
        if dense is not None:
            dense.write(parameters)
        return is_delta, follows

    def _chains(self) -> list[Files]:
        has_files = any(FILE.fullmatch(path.name) for path in self._checkpoint.iterdir())
        return checkpoint_files(self._checkpoint) if has_files else []

    def _basis(self, rollbacks: int) -> Before | None:
        """The tables of the version before, if they are intact."""
        if self._before is None:
            return None
        with contextlib.suppress(DataError, OSError):
            message = pb.TrainedModel.FromString((self._before / MESSAGE).read_bytes())
            record = VersionRecord.read(self._before)
            if message.tables and record.follows:
                return Before(self._before / message.tables, message.tables_digest, record.bases(rollbacks))
        return None

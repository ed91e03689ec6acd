"""Carries out a coordinator's actions: starts and ends processes, makes and removes folders of checkpoints."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, assert_never

from elasticdl_nb.runtime.errors import DataError
from elasticdl_nb.runtime.master.decisions import events
from elasticdl_nb.runtime.master.decisions.actions import (
    BeginCheckpoint,
    CommitCheckpoint,
    Deed,
    DiscardCheckpoint,
    Kill,
    PruneCheckpoints,
    SetCheckpointAside,
    Start,
)
from elasticdl_nb.runtime.parameters.checkpoints.chain import inherited
from elasticdl_nb.runtime.platform.base import InstanceId, Platform
from elasticdl_nb.runtime.platform.local import WORKER_ENVS
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage import checkpoints, usedfiles
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

_PACKAGE = "elasticdl_nb.runtime"


class Executor:
    """Carries out actions for one job, and reports the results to `happened`.

    `address` is the master's; `spawn` runs something in the background.
    """

    def __init__(
        self, folder: JobFolder, spec: JobSpec, platform: Platform, address: str, *,
        spawn: Callable[[Coroutine[Any, Any, None]], None], happened: Callable[[events.Event], None],
    ) -> None:  # fmt: skip
        self._folder, self._spec, self._platform, self._address = folder, spec, platform, address
        self._spawn, self._happened = spawn, happened

    def carry_out(self, deed: Deed) -> None:
        """Carry out an action, or begin to."""
        match deed:
            case Start(key):
                instance = InstanceId(*key)
                envs = {**WORKER_ENVS, **self._spec.envs}
                self._spawn(self._platform.start(instance, self._command(instance), envs))
            case Kill(key):
                self._spawn(self._platform.kill(InstanceId(*key)))
            case BeginCheckpoint(number, step):
                self._begin_checkpoint(number, step)
            case CommitCheckpoint():
                self._spawn(self._commit(deed))
            case DiscardCheckpoint(path):
                self._spawn(asyncio.to_thread(checkpoints.discard, path))
            case PruneCheckpoints(newest):
                self._spawn(asyncio.to_thread(checkpoints.prune, newest, *self._keeping))
            case SetCheckpointAside(path):
                self._spawn(asyncio.to_thread(checkpoints.set_aside, path))
            case _:
                assert_never(deed)

    def keep_ready(self) -> None:
        """See to it that a parameter server that dies can be replaced at once; to be called again and again."""
        if self._spec.uses_servers:
            envs = {**WORKER_ENVS, **self._spec.envs}
            self._platform.keep_ready(f"{_PACKAGE}.ps", envs, os.fspath(self._folder.path))

    def _command(self, instance: InstanceId) -> list[str]:
        return [
            sys.executable, "-m", f"{_PACKAGE}.{instance.role}", os.fspath(self._folder.path), self._address,
            str(instance.index), instance.incarnation,
        ]  # fmt: skip

    def _begin_checkpoint(self, number: int, step: int) -> None:
        try:
            path = checkpoints.begin(checkpoint_directory(self._folder, self._spec), step, self._folder.identity)
        except OSError as error:
            self._happened(events.CheckpointFailed("", str(error)))
        else:
            self._happened(events.CheckpointBegun(number, os.fspath(path)))

    async def _commit(self, action: CommitCheckpoint) -> None:
        try:
            final, kept = await asyncio.to_thread(self._complete, action)
        except (OSError, DataError) as error:
            checkpoints.discard(action.path)
            self._happened(events.CheckpointFailed(action.path, str(error)))
        else:
            self._happened(events.CheckpointCommitted(action.path, final, kept))

    def _complete(self, action: CommitCheckpoint) -> tuple[str, tuple[str, ...]]:
        job = self._folder.identity
        if not action.sealed and os.path.exists(action.path):
            for file in self._folder.begins_with.glob("*"):
                shutil.copyfile(file, os.path.join(action.path, file.name))
            checkpoints.seal(Path(action.path), action.step, job, inherited(Path(action.path)))
        state = usedfiles.with_used(self._folder, action.state) if self._spec.follow else action.state
        final = checkpoints.commit(action.path, state, job)
        return final, tuple(os.fspath(path) for path in checkpoints.to_keep(final, *self._keeping))

    @property
    def _keeping(self) -> tuple[int, str]:
        return self._spec.keep_checkpoint_max, self._folder.identity


def checkpoint_directory(folder: JobFolder, spec: JobSpec) -> str:
    """Where a job's checkpoints are."""
    return spec.checkpoint_dir or os.fspath(folder.checkpoints)

"""The checkpoints that a worker makes of the model in its process."""

from __future__ import annotations

import os
import time
from pathlib import Path

from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.storage.checkpoints import has
from elasticdl_nb.runtime.storage.pauses import FIRST
from elasticdl_nb.runtime.worker.part import Part
from elasticdl_nb.runtime.worker.training.whole import WholeModelTrainer

CHECKPOINT_SECONDS = 30.0


class Checkpoints:
    """Makes a checkpoint every so many steps if the job gives a number, and otherwise at least every 30 seconds.

    A job with a directory for checkpoints also gets one of its last step, for another job to begin with.
    """

    def __init__(self, part: Part) -> None:
        self._session, self._job = part.session, part.folder.identity
        self._outlive_job = bool(part.spec.checkpoint_dir)
        self._every, self._only_steps = part.spec.steps_between_checkpoints, part.spec.checkpoint_steps > 0
        self._seconds = part.spec.seconds_between_checkpoints
        self._directory = Path(part.spec.checkpoint_dir) if part.spec.checkpoint_dir else part.folder.checkpoints
        self._saved_step, self._saved_at = 0, time.monotonic()

    def begin(self, step: int) -> None:
        """The first steps come after this one, which needs no checkpoint."""
        self._saved_step = step

    def save_if_due(self, trainer: WholeModelTrainer) -> bool:
        """If it is time, make a checkpoint and report it to the master; return whether one was made.

        One that cannot be written is reported, too. The master decides when to try again.
        """
        return self._is_due(trainer.step) and not self._session.waits_with_checkpoints and self._save(trainer)

    def save_last(self, trainer: WholeModelTrainer) -> None:
        """There are no further steps: make a checkpoint of the last one, unless there is one."""
        if not self._outlive_job or trainer.step in (0, self._saved_step):
            return
        if not has(self._directory, trainer.step, self._job):  # another worker may have made it
            self._save(trainer)

    def _save(self, trainer: WholeModelTrainer) -> bool:
        try:
            path = trainer.save(self._directory, self._job)
        except OSError as error:
            self._session.wait_with_checkpoints(FIRST)  # at least, until the master's answer comes
            self._session.send(checkpoint_failed=pb.CheckpointFailed(step=trainer.step, problem=str(error)))
            return False
        self._saved_step, self._saved_at = trainer.step, time.monotonic()
        ready = pb.CheckpointReady(step=trainer.step, path=os.fspath(path), places=trainer.places())
        self._session.send(checkpoint_ready=ready)
        return True

    def _is_due(self, step: int) -> bool:
        if step == self._saved_step:
            return False
        if self._every and step // self._every != self._saved_step // self._every:
            return True
        if self._only_steps:
            return False
        return time.monotonic() - self._saved_at > self._seconds(CHECKPOINT_SECONDS)

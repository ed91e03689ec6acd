"""A worker process's place in its job. Imports no TensorFlow: it is made before that is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.choosing import Choice


@dataclass(frozen=True)
class Part:
    """This process in its job: worker `number`, in a session with the master.

    `listener` is where its neighbours find it, if its strategy has neighbours; `restore_from` is the checkpoint from
    which it continues, or an empty string; `initial` is the one that the job begins with otherwise, if any.
    """

    folder: JobFolder
    spec: JobSpec
    number: int
    session: WorkerSession
    choice: Choice
    listener: Listener | None = None
    restore_from: str = ""
    initial: str = ""

"""`python -m elasticdl_nb.runtime.worker JOB_FOLDER MASTER_ADDRESS NUMBER INCARNATION`, or `--waits` for them."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
from concurrent.futures import Future
from dataclasses import replace

from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.control.masterstream import end_when_told
from elasticdl_nb.runtime.imports import only_what_computes
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.platform.early import WAITS, arguments_when_told
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.network import Network
from elasticdl_nb.runtime.storage import workfolder
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.worker.failures import failure
from elasticdl_nb.runtime.worker.part import Part
from elasticdl_nb.runtime.worker.session import WorkerSession
from elasticdl_nb.runtime.worker.training.choosing import Choice


def take_part(path: str, address: str, number: str, incarnation: str) -> Part:
    """Say hello to the job's master."""
    folder = JobFolder(path)
    end_when_told(folder)
    workfolder.offer(folder.work)
    spec = folder.spec()
    if "TMPDIR" not in spec.envs:
        folder.use_temporary()
    logging.basicConfig(level=spec.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    choice = Choice.of(spec)
    listener = Listener(folder.token(), Network.of()) if choice.has_neighbours else None
    session = WorkerSession(folder, address, int(number), incarnation, listener.address if listener else "")
    session.activity("importing")
    return Part(folder, spec, int(number), session, choice, listener)


def take_part_when_told(part: Future[Part]) -> None:
    """Wait for a job, and say hello to its master, while the main thread imports TensorFlow."""
    try:
        part.set_result(take_part(*arguments_when_told()))
    except Exception as error:  # raised where the part is asked for
        part.set_exception(error)


def main(*arguments: str) -> None:
    """Run a worker process to its end. It greets the master before it imports TensorFlow, which takes seconds."""
    faulthandler.enable()
    keep_freed_buffers()
    coming: Future[Part] = Future()
    if arguments == (WAITS,):
        threading.Thread(target=take_part_when_told, args=(coming,), daemon=True).start()
    else:
        coming.set_result(take_part(*arguments))
    code = 0
    try:
        with only_what_computes():
            from elasticdl_nb.runtime.worker.worker import Worker

        part = coming.result()
        welcome = part.session.welcome()
        Worker(replace(part, restore_from=welcome.restore_from, initial=welcome.initial)).run()
    except Exception as error:  # whatever goes wrong before or between tasks is for the master to judge
        session = coming.result().session
        logging.exception("the worker failed")
        session.send(worker_failed=pb.WorkerFailed(failure=failure(error)))
        code = 1
    coming.result().session.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads need not be stopped first: everything this process owes has been sent or written.
    os._exit(code)


main(*sys.argv[1:])

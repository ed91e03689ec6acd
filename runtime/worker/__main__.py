"""`python -m elasticdl_nb.runtime.worker JOB_FOLDER MASTER_ADDRESS NUMBER INCARNATION`."""

import faulthandler
import logging
import os
import sys

from elasticdl_nb.runtime.allreduce.connect import Listener
from elasticdl_nb.runtime.imports import only_what_computes
from elasticdl_nb.runtime.jobfolder import JobFolder
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.ps.memory import keep_freed_buffers
from elasticdl_nb.runtime.worker.failures import failure
from elasticdl_nb.runtime.worker.link import MasterLink


def main(path: str, address: str, number: str, incarnation: str) -> None:
    """Run a worker process to its end. The master hears of it before TensorFlow, which takes seconds, is imported."""
    faulthandler.enable()
    keep_freed_buffers()
    folder = JobFolder(path)
    spec = folder.spec()
    logging.basicConfig(level=spec.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    listener = Listener(folder.token()) if spec.uses_allreduce else None
    link = MasterLink(folder, address, int(number), incarnation, listener.address if listener else "")
    link.activity("importing")
    code = 0
    try:
        with only_what_computes():
            from elasticdl_nb.runtime.worker.worker import Worker

        Worker(folder, link, int(number), link.welcome().restore_from, listener).run()
    except Exception as error:  # whatever goes wrong before or between tasks is the master's to judge
        logging.exception("the worker failed")
        link.send(worker_failed=pb.WorkerFailed(failure=failure(error)))
        code = 1
    link.close()
    sys.stdout.flush()
    sys.stderr.flush()
    # TensorFlow's threads need not be wound up: everything this process owes has been sent or written.
    os._exit(code)


main(*sys.argv[1:])

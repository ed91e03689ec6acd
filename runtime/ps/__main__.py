"""`python -m elasticdl_nb.runtime.ps JOB_FOLDER MASTER_ADDRESS INDEX INCARNATION`.

With `--waits JOB_FOLDER`, it gets ready to be any of the job's servers, and waits for its arguments; see
`platform.early`.
"""

import faulthandler
import logging
import os
import sys

from elasticdl_nb.runtime.control.masterstream import end_when_told
from elasticdl_nb.runtime.parameters.generations import StoreService
from elasticdl_nb.runtime.parameters.rows.memory import keep_freed_buffers
from elasticdl_nb.runtime.platform.early import WAITS, arguments_when_told
from elasticdl_nb.runtime.ps.process import ServerProcess
from elasticdl_nb.runtime.storage import workfolder
from elasticdl_nb.runtime.storage.jobfolder import JobFolder


def main(*arguments: str) -> None:
    """Run a parameter server until it ends."""
    faulthandler.enable()
    keep_freed_buffers()
    if arguments[0] == WAITS:
        StoreService(remembered=JobFolder(arguments[1]).optimizer).warm_up()
        arguments = tuple(arguments_when_told())
    path, address, index, incarnation = arguments
    folder = JobFolder(path)
    end_when_told(folder)
    workfolder.offer(folder.work)
    logging.basicConfig(level=folder.spec().log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code = 0
    try:
        ServerProcess(folder, address, int(index), incarnation).run()
    except Exception:  # the process must not live on with only its other threads
        logging.exception("the parameter server failed")
        code = 1
    logging.shutdown()
    os._exit(code)


main(*sys.argv[1:])

"""`python -m elasticdl_nb.runtime.master JOB_FOLDER [--supervised]`, or `--waits` to get them later."""

import sys

from elasticdl_nb.runtime.platform.early import WAITS, EarlyProcess, arguments_when_told
from elasticdl_nb.runtime.platform.local import WORKER, WORKER_ENVS

arguments, worker = sys.argv[1:], None
if arguments == [WAITS]:
    # Before anything else, because a worker's imports take far longer than the master's.
    worker = EarlyProcess(WORKER, WORKER_ENVS)

from elasticdl_nb.runtime.master.process import main  # noqa: E402

main(*(arguments_when_told() if worker else arguments), worker=worker)

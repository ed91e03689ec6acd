"""`python -m elasticdl_nb.runtime.master JOB_FOLDER [--supervised]`, or `--waits [WORKERS]` to get them later."""

import sys

from elasticdl_nb.runtime.platform.early import WAITS, EarlyProcess, arguments_when_told
from elasticdl_nb.runtime.platform.local import WORKER, WORKER_ENVS

arguments, workers = sys.argv[1:], []
if waits := arguments[:1] == [WAITS]:
    # Before anything else, because a worker's imports take far longer than the master's.
    workers = [EarlyProcess(WORKER, WORKER_ENVS) for _ in range(int(arguments[1]) if arguments[1:] else 1)]

from elasticdl_nb.runtime.master.process import main  # noqa: E402

main(*(arguments_when_told() if waits else arguments), workers=workers)

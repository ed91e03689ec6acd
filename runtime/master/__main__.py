"""`python -m elasticdl_nb.runtime.master JOB_FOLDER [--supervised]`."""

import sys

from elasticdl_nb.runtime.master.process import main

main(*sys.argv[1:])

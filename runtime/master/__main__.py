"""`python -m elasticdl_nb.runtime.master JOB_FOLDER [DASHBOARD_RENDERER]`."""

import sys

from elasticdl_nb.runtime.master.process import main

main(*sys.argv[1:3])

"""`python -m elasticdl_nb.runtime.publishing JOB_FOLDER`: publishes versions for a job's master, until it ends.

Each line on standard input is the path of a checkpoint; each line of JSON on standard output is the answer:
{"number": …, "is_delta": …}, {} if there was nothing to do, or {"error": …}.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.publishing.version import publish
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

NICENESS = 10
"""How much training goes before publishing where there are too few processors for both."""


def main(path: str) -> None:
    """Publish what is asked for, until standard input is closed."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    folder = JobFolder(Path(path))
    spec = folder.spec()
    for line in sys.stdin:
        try:
            done = publish(folder, spec, Path(line.rstrip("\n")))
            answer = {} if done is None else asdict(done)
        except (ElasticDLError, OSError) as error:
            answer = {"error": str(error) or type(error).__name__}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])

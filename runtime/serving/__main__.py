"""`python -m elasticdl_nb.runtime.serving`: a server that ends with the process that started it.

Standard input gets the settings as a line of JSON, and is open as long as the server is wanted. A line of JSON on
standard output says where it listens, {"url": …, "grpc": …}, or why it does not, {"error": …, "option": …}.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

from elasticdl_nb.runtime.errors import ElasticDLError, OptionError
from elasticdl_nb.runtime.serving.settings import Settings


def main() -> int:
    """Serve; return the exit code."""
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is not an answer
    with open(0, "rb", buffering=0, closefd=False) as given:  # unbuffered: what follows is the pipe's end
        settings = Settings(**json.loads(given.readline()))
    try:
        from elasticdl_nb.runtime.serving.process import run

        run(settings, lambda listening: print(json.dumps(asdict(listening)), file=said, flush=True), lives_with=0)
    except ElasticDLError as error:
        option = error.option if isinstance(error, OptionError) else ""
        print(json.dumps({"error": str(error), "option": option}), file=said, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # without waiting for TensorFlow's threads

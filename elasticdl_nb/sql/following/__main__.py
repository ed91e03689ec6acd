"""The process that pulls rows for a job: `python -m elasticdl_nb.sql.following FOLDER`, started by the job's master.

It gets lines of JSON on its standard input, {"waiting": records that wait to be used, "stop": whether the job is to
end}, and writes such lines to its standard output: {"level": …, "text": …} is for users, and {"done": true} comes when
all rows that were there when the job was to end have been pulled. It ends when its input does, with the master.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder
from elasticdl_nb.runtime.storage.locks import hold_lock
from elasticdl_nb.sql.following.rounds import Rounds
from elasticdl_nb.sql.following.settings import Settings

_LONGEST = 2000
"""Characters of a message, as a value of the database may be in it."""


class _Orders:
    """What the master has said last."""

    def __init__(self) -> None:
        self.waiting, self.stop = 0, False
        self.changed = threading.Event()

    def listen(self) -> None:
        """Read orders until there is no master any more, and then exit, whatever the other threads do."""
        for line in sys.stdin:
            values = json.loads(line)
            news = values["stop"] and not self.stop
            self.waiting, self.stop = values["waiting"], values["stop"]
            if news:
                self.changed.set()
        os._exit(0)


def main(path: str) -> None:
    """Pull rows until all is done, or the master is gone."""
    folder, orders = JobFolder(path), _Orders()
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print goes to the log

    def say(**values: Any) -> None:
        out.write(json.dumps(values) + "\n")

    def tell(level: str, text: str) -> None:
        say(level=level, text=text[:_LONGEST])

    threading.Thread(target=orders.listen, daemon=True).start()
    with _alone(folder):
        _, values = folder.feeder()
        rounds = Rounds(Settings.from_json(values), folder, tell)
        while not (done := _tried(rounds, orders)):
            rounds.tidy()
            orders.changed.wait(rounds.pause(time.monotonic()))
            orders.changed.clear()
        say(done=done)


def _tried(rounds: Rounds, orders: _Orders) -> bool:
    try:
        done = rounds.run(time.monotonic, stop=orders.stop, waiting=lambda: orders.waiting)
    except (ElasticDLError, OSError) as error:
        return rounds.failed(error, stop=orders.stop)
    return done


@contextlib.contextmanager
def _alone(folder: JobFolder) -> Iterator[None]:
    """Wait until another such process, whose master has died, is gone."""
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(hold_lock(Path(folder.path) / "feeder.lock"))
                break
            except BlockingIOError:
                time.sleep(0.05)
        yield


if __name__ == "__main__":
    main(sys.argv[1])

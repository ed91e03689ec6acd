"""Records for jobs that are killed and stopped while they follow a directory or a topic; `kill_loop.py` uses them.

The brokers of a topic are librdkafka's own, in a process of their own, behind a proxy. They are hit like the processes
of the job: one of them, or all, refuse connections for a while, as when they start again; their process is stopped; the
proxy resets connections in the middle of an answer, or lets nothing through. The records themselves are sent past all
of that, so that each is in the topic once.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elasticdl_nb.runtime.storage.jobfolder import JobFolder

sys.path.insert(0, os.fspath(Path(__file__).parents[1] / "tests"))

import kafkabrokers

FILES = 40
"""In which a directory gets the records."""

PARTITIONS = 12
WAITING = 20_000
"""Records of each partition that wait, of which a mock broker keeps 100,000: a job may go back."""

AT_ONCE = 2000
_OFFSETS = "used_files.json"


class Files:
    """A directory that gets files of numbered records."""

    targets: tuple[str, ...] = ()

    def __init__(self, folder: Path, records: int) -> None:
        folder.mkdir(parents=True)
        self.data = os.fspath(folder)
        self._folder, self._each, self._files = folder, records // FILES, 0
        self._add()

    def _add(self) -> None:
        table = pa.table({"number": np.arange(self._files * self._each, (self._files + 1) * self._each)})
        pq.write_table(table, self._folder / "_aside")
        os.rename(self._folder / "_aside", self._folder / f"part-{self._files:03d}.parquet")
        self._files += 1

    def grow(self, folder: JobFolder, share: float) -> None:
        """Add about this share of the files."""
        for _ in range(min(round(0.5 + FILES * share), FILES - self._files)):
            self._add()

    def finish(self, folder: JobFolder) -> None:
        """Add the rest."""
        self.grow(folder, 1.0)

    def blow(self, target: str, chance: random.Random) -> str:
        """Nothing here can be hit."""
        raise NotImplementedError

    def wrong(self, out: Path) -> list[str]:
        """Return what is wrong with what the trained model says of its data."""
        return []

    def close(self) -> None:
        """Nothing is left to be ended."""


class Topic:
    """A topic that gets numbered records, about as fast as a job uses them."""

    targets = ("brokers",)

    def __init__(self, records: int) -> None:
        self._brokers = kafkabrokers.Brokers(proxied=True)
        self.data = self._brokers.create("numbers", PARTITIONS) + "?expired=fail"
        self._records, self._written, self._parts = records, 0, 0
        self._pausing: list[threading.Timer] = []
        self._calls = threading.Lock()
        self._is_down = False
        self._add(0)

    def _add(self, done: int) -> None:
        """Add records until enough wait, of which so many have been used."""
        while self._written < min(self._records, done + WAITING * PARTITIONS):
            numbers = range(self._written, min(self._written + AT_ONCE, self._records))
            with self._calls:  # brokers go away when no request is under way, which would be repeated
                self._brokers.produce("numbers", self._parts % PARTITIONS, [b'{"number": %d}' % one for one in numbers])
            self._written, self._parts = numbers.stop, self._parts + 1

    def grow(self, folder: JobFolder, share: float) -> None:
        """Add as many records as the job has used."""
        status = folder.status()
        if not self._is_down:
            self._add(status.records_done if status else 0)

    def finish(self, folder: JobFolder) -> None:
        """Add the rest as the job gets there."""
        for timer in self._pausing:
            timer.join()
        deadline = time.monotonic() + 300
        while self._written < self._records and not folder.is_over() and time.monotonic() < deadline:
            self.grow(folder, 0)
            time.sleep(0.1)

    def blow(self, target: str, chance: random.Random) -> str:
        """Hit the brokers; return what was done."""
        seconds = chance.choice([0.2, 1.0, 4.0, 10.0])
        what = chance.choice(["down", "all down", "stopped", "cut", "silent"])
        assert self._brokers.proxy is not None
        if what == "cut":
            return f"cut {self._brokers.proxy.cut()} connections to brokers"
        if what == "silent":
            return f"silence {self._brokers.proxy.silence(seconds)} connections to brokers for {seconds:g}s"
        if self._is_down:
            return "brokers are down already"
        self._is_down = True
        number = chance.randint(1, 3) if what == "down" else 0
        with self._calls:
            if what == "stopped":
                os.kill(self._brokers.process.pid or 0, signal.SIGSTOP)
            else:
                self._brokers.down(number)
        self._pausing.append(threading.Timer(seconds, self._back, (what, number)))
        self._pausing[-1].start()
        return f"brokers {what} for {seconds:g}s"

    def _back(self, what: str, number: int) -> None:
        if what == "stopped":
            os.kill(self._brokers.process.pid or 0, signal.SIGCONT)
        else:
            self._brokers.up(number)
        self._is_down = False

    def wrong(self, out: Path) -> list[str]:
        """See `Files.wrong`."""
        used = json.loads((out / _OFFSETS).read_text())
        total = sum(used["offsets"].values())
        wrong = [f"the model says that {total} offsets were used"] if total != self._records else []
        return wrong + ([f"and that records are left: {used['left']}"] if used["left"] else [])

    def close(self) -> None:
        """End the brokers."""
        for timer in self._pausing:
            timer.join()
        self._brokers.close()

"""A snapshot on its way to the disk while its server keeps serving."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator

from elasticdl_nb.runtime.parameters.checkpoints.snapshot import Frame, save

_AHEAD = 2  # frames taken and not yet written


def beside(work: Callable[[], None]) -> None:
    """Run work in a thread of its own, which ends with the process."""
    threading.Thread(target=work, name="compaction", daemon=True).start()


def write_in_background(
    path: str | os.PathLike[str], frames: Iterator[Frame], done: Callable[[OSError | None], None]
) -> Iterator[bool]:
    """Return steps that each pass a frame to a writing thread; a step is False if the disk must catch up first.

    `done` is called on that thread once the file is complete or writing has failed; a failure leaves nothing behind.
    """
    handed: queue.Queue[Frame | None] = queue.Queue(_AHEAD)
    failed = threading.Event()

    def write() -> None:
        try:
            save(path, iter(handed.get, None))
        except OSError as error:
            failed.set()
            done(error)
        else:
            done(None)

    threading.Thread(target=write, name="snapshot", daemon=True).start()
    return _hand_over(frames, handed, failed)


def _hand_over(frames: Iterator[Frame], handed: queue.Queue[Frame | None], failed: threading.Event) -> Iterator[bool]:
    frame: Frame | None = next(frames, None)
    while not failed.is_set():
        try:
            handed.put_nowait(frame)
        except queue.Full:
            yield False
            continue
        if frame is None:
            return
        yield True
        frame = next(frames, None)

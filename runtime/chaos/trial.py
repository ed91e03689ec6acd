"""Makes events happen to a job, and watches what becomes of it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterable

from elasticdl_nb.runtime.chaos.blows import Hand, LocalHand
from elasticdl_nb.runtime.chaos.ledger import Ledger, Report
from elasticdl_nb.runtime.chaos.schedule import Event, Scale, Signal
from elasticdl_nb.runtime.control.masterclient import scale_job, watch_job
from elasticdl_nb.runtime.errors import JobError
from elasticdl_nb.runtime.storage.jobfolder import JobFolder

_POLL_SECONDS = 0.05
Tell = Callable[[str], None]


def unleash(
    folder: JobFolder, events: Iterable[Event], tell: Tell = lambda _: None, *, hand: Hand | None = None,
    struck: Callable[[Event, str], None] = lambda event, what: None,
) -> int:  # fmt: skip
    """Make the events happen to the job, until there are no more or the job is over; return how many took effect.

    `tell` is called with a line about each event, and `struck` with each that took effect. `hand` reaches the job's
    processes; by default those on this machine.
    """
    hand = hand or LocalHand(folder)
    begun = time.monotonic()
    happened = 0
    for event in events:
        while (left := begun + event.at - time.monotonic()) > 0:
            if not folder.is_alive():
                return happened
            time.sleep(min(left, _POLL_SECONDS))
        if not folder.is_alive():
            break
        done = _scale(folder, event) if isinstance(event, Scale) else hand.strike(event)
        happened += bool(done)
        if done:
            struck(event, done)
        tell(f"{event.at:.1f}s {done or 'had no effect'}")
    return happened


def trial(
    folder: JobFolder, events: Iterable[Event], tell: Tell = lambda _: None, *, hand: Hand | None = None
) -> Report:
    """Make the events happen to the job, follow it to its end, and report what each has cost.

    An interrupt (KeyboardInterrupt) ends the trial, not the job, and the report is about what happened until then.
    """
    ledger, lock, begun = Ledger(), threading.Lock(), time.monotonic()
    alone = folder.spec().trains_alone

    def follow() -> None:
        with contextlib.suppress(Exception):  # the report tells what was seen
            for status in watch_job(folder, interval=_POLL_SECONDS):
                with lock:
                    ledger.seen(time.monotonic() - begun, status)

    def struck(event: Event, what: str) -> None:
        kills = isinstance(event, Signal) and event.signal == signal.SIGKILL
        goes_back = kills and (" ps-" in what or (alone and " worker-" in what))
        with lock:
            ledger.struck(time.monotonic() - begun, what, goes_back=goes_back)

    watcher = threading.Thread(target=follow, name="chaos-watch", daemon=True)
    watcher.start()
    with contextlib.suppress(KeyboardInterrupt):
        unleash(folder, events, tell, hand=hand, struck=struck)
        while watcher.is_alive():
            watcher.join(0.5)
    with lock:
        return ledger.report


def _scale(folder: JobFolder, event: Scale) -> str:
    with contextlib.suppress(JobError):
        scale_job(folder, event.workers)
        return f"{event.workers} worker(s)"
    return ""

"""A job's files, listed once: the first process that needs them writes the list beside the job, and all others read it.

So all processes agree on the files, even if one is added, removed or changed while the job runs: a new file is not part
of the job, and a file that was removed or changed is named in an error.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path

from elasticdl_nb.runtime.data.files import Stamp, stamp_of
from elasticdl_nb.runtime.data.tablereader import parallel

Listing = dict[str, Stamp | None]
"""Paths, in order, with their stamps; None for files that are not on this machine."""


def of_paths(paths: Sequence[str]) -> Listing:
    """Return the listing of files as they are now; raise DataError if one cannot be inspected."""
    unique = list(dict.fromkeys(paths))
    return dict(zip(unique, parallel(stamp_of, unique), strict=True))


def kept(place: Path, expand: Callable[[], Sequence[str]]) -> Listing:
    """Return the listing in the file `place`; if there is none yet, list what `expand` finds, and write it there."""
    found = json.loads(kept_text(place, lambda: json.dumps(list(of_paths(expand()).items()))))
    return {path: None if stamp is None else (stamp[0], stamp[1]) for path, stamp in found}


def kept_text(place: Path, make: Callable[[], str]) -> str:
    """Return the text in the file `place`; if there is none yet, write there what `make` returns."""
    with contextlib.suppress(FileNotFoundError):
        return place.read_text()
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    aside.write_text(make())
    try:
        os.link(aside, place)  # unlike a rename, it does not replace one that another process has just written
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(aside, place)
    finally:
        aside.unlink(missing_ok=True)
    return place.read_text()

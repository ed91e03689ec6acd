"""`--dry_run`: shows everything that a job would consist of, without starting it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from IPython.display import Code, display

from elasticdl_nb.capture import Captured, checking
from elasticdl_nb.capture.state.reading import FOLDER
from elasticdl_nb.given.namedobjects import CAPTURED_MODULE
from elasticdl_nb.job.display import notes
from elasticdl_nb.job.starting import dry_run
from elasticdl_nb.magics.displays import say
from elasticdl_nb.magics.optiontables import spec_table
from elasticdl_nb.runtime.spec import JobKind


def show_dry_run(kind: JobKind, given: Mapping[str, Any]) -> None:
    """Show the packaged source, its requirements and the job; leave nothing behind.

    The source is imported in a new process. Raises what submitting would raise, and CaptureError.
    """
    with notes(say), dry_run(kind, given) as folder:
        spec = folder.spec()
        source = folder.zoo / f"{CAPTURED_MODULE}.py"
        if source.exists():
            text = source.read_text()
            requirements = _lines(folder.zoo / "requirements.txt")
            display(Code(text, language="python"))  # type: ignore[no-untyped-call]
            if requirements:
                say("requirements.txt: " + ", ".join(requirements))
            if not (folder.zoo / FOLDER).exists():  # what has values was imported, and compared, while it was prepared
                checking.begin_check(Captured(text, [], {}, [], []), [], str(folder.zoo), CAPTURED_MODULE).finish()
    display(spec_table(spec))  # type: ignore[no-untyped-call]
    say("Nothing was started: this was a dry run.")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []

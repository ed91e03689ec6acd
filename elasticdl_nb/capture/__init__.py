"""From executed notebook cells, or a running script, to a self-contained and readable model module.

`capture_cells` works on cells and a namespace alone; `capture_objects` finds the place that objects came from.
What is shipped is source, never pickles; what cannot be shipped is refused with the name, the place and the cure.
"""

from __future__ import annotations

from elasticdl_nb.capture.captured import Captured, check, write_zoo
from elasticdl_nb.capture.cells import Cell, split_options
from elasticdl_nb.capture.checking import verify
from elasticdl_nb.capture.notebookfile import capture_notebook
from elasticdl_nb.capture.objects import capture_objects
from elasticdl_nb.capture.package import capture_cells

__all__ = [
    "Captured",
    "Cell",
    "capture_cells",
    "capture_notebook",
    "capture_objects",
    "check",
    "split_options",
    "verify",
    "write_zoo",
]

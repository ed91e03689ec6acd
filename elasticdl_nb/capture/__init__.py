"""From executed notebook cells, or a running script, to a self-contained and readable model module.

`capture_cells` needs only cells and a namespace; `capture_objects` finds out where objects were defined. Functions and
classes are shipped as source. Other values are shipped as they are: short ones as source, the rest as files in
`state/`, some of which are pickles without code. Whatever cannot be shipped is refused with its name, its
place and what to do.
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

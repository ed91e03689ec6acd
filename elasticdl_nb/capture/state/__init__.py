"""The state of a notebook's objects, by value: files in `state/` beside the packaged module.

Writing (`writing`, `code`, `kerasobjects`, `tensors`, `files`) happens where the notebook is; reading (`reading`,
`rebuilding`) wherever the packaged module is imported, which says `_load = loader(globals())`. Code is never in these
files: functions and classes are named by where their source stands in the packaged module. Reading imports neither
TensorFlow nor the writing side. Nothing here decides what a package needs; `closure` does.
"""

from __future__ import annotations

from elasticdl_nb.capture.state.reading import loader

__all__ = ["loader"]

"""The state of a notebook's objects, by value: files in `state/` beside the packaged module.

Writing (`writing`, `code`, `kinds`, `arrays`, `tensors`, `weights`, `files`) happens where the notebook runs; reading
(`reading`, `rebuilding`) wherever the packaged module is imported, which calls `_load = loader(globals())`. These files
never contain code: functions and classes are referred to by where their source is in the packaged module. Reading
imports neither TensorFlow nor the writing side. Nothing here decides what a package needs; `closure` does.
"""

from __future__ import annotations

from elasticdl_nb.capture.state.reading import loader, use_files

__all__ = ["loader", "use_files"]

"""The notebook extension: `%load_ext elasticdl_nb` registers the magics, their completion, and the cell recorder.

`commands` has the magics of jobs and `sqlmagic` that of SQL; `options`, `expand` and `sqlline` read their lines,
`models` finds the model among the notebook's objects, `columns` those of its data, `capture` records cells,
`emptycells` lets magics do without a body, and `displays` shows a job in a notebook. Code that programs could also use
belongs in `elasticdl_nb`.
"""

from __future__ import annotations

import os
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from elasticdl_nb.magics.capture import CellRecorder
from elasticdl_nb.magics.commands import ElasticDLMagics
from elasticdl_nb.magics.completion import make_matcher
from elasticdl_nb.magics.emptycells import as_line_magic
from elasticdl_nb.magics.sqlcompletion import make_sql_matcher
from elasticdl_nb.magics.sqlmagic import SQLFlowMagics

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_RECORDER = "_elasticdl_recorder"


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register everything with a shell; doing it twice is harmless."""
    if hasattr(shell, _RECORDER):
        return
    # Silences what TensorFlow prints about its build, in red, when a notebook first imports it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    shell.register_magics(ElasticDLMagics(shell))
    sql = SQLFlowMagics(shell)
    shell.register_magics(sql)
    recorder = CellRecorder(shell)
    recorder.start()
    setattr(shell, _RECORDER, recorder)
    shell.input_transformers_cleanup.insert(0, as_line_magic)
    completer: Any = shell.Completer
    completer.custom_matchers += [make_matcher(shell.user_ns), make_sql_matcher(sql)]


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Stop recording and completing, and close databases; the magics stay, as IPython cannot remove them."""
    sql = shell.magics_manager.registry.get(SQLFlowMagics.__name__)
    if sql is not None:
        sql.close()
    recorder = shell.__dict__.pop(_RECORDER, None)
    if recorder is not None:
        recorder.stop()
    if as_line_magic in shell.input_transformers_cleanup:
        shell.input_transformers_cleanup.remove(as_line_magic)
    completer: Any = shell.Completer
    completer.custom_matchers[:] = [
        matcher for matcher in completer.custom_matchers if not matcher.__module__.startswith(__name__)
    ]

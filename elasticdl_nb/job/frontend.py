"""Whether somebody sits in front of a notebook."""

from __future__ import annotations

import sys
from typing import Any


def in_live_notebook() -> bool:
    """Whether this is a notebook kernel in interactive use, rather than a program or a notebook run in batch."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return False
    # Programs that run notebooks in batch say that nobody is there to answer.
    parent: dict[str, Any] = kernel.get_parent("shell") or {}
    return bool(parent.get("content", {}).get("allow_stdin", False))

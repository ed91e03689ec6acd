"""What Keras warns about a model's loss, metrics or optimizer is for its user, not only for the log of a worker."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from typing import TextIO

_ABOUT_MODELS = tuple(os.path.join("keras", "src", folder, "") for folder in ("losses", "metrics", "optimizers"))


def tell_warnings(note: Callable[[str, str], None]) -> None:
    """From now on, call `note("warning", text)` for such a warning, which is shown as well."""
    shown = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: TextIO | None = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        if any(place in filename for place in _ABOUT_MODELS):
            note("warning", f"Keras: {message}")
        shown(message, category, filename, lineno, file, line)

    warnings.showwarning = show

"""The import name `elasticdl`: `elasticdl.train(...)` and the other functions of elasticdl_nb."""

from __future__ import annotations

from typing import Any

import elasticdl_nb
from elasticdl_nb import __all__ as __all__


def __getattr__(name: str) -> Any:
    try:
        return getattr(elasticdl_nb, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

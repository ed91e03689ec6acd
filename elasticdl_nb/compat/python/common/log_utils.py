"""`from elasticdl.python.common.log_utils import default_logger as logger`: to the log of the process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

__all__ = ["default_logger", "get_logger"]

_FORMAT = "%(asctime)s %(levelname)s %(filename)s:%(lineno)d %(message)s"


def get_logger(
    name: str, level: str | int = "INFO", handlers: Sequence[logging.Handler] | None = None, update: bool = False
) -> logging.Logger:
    """Return the logger of that name, which writes to stderr unless it has handlers; `update` replaces them."""
    logger = logging.getLogger(name)
    if update or not logger.handlers:
        logger.setLevel(level)
        logger.handlers = list(handlers or [_to_stderr()])
        logger.propagate = False
    return logger


def _to_stderr() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    return handler


default_logger = get_logger("elasticdl")

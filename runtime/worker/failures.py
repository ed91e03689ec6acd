"""Exceptions as messages for the master and for people."""

from __future__ import annotations

import traceback

from elasticdl_nb.runtime.errors import ElasticDLError
from elasticdl_nb.runtime.protocol import master_pb2 as pb

_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError, ImportError)
_PASSING = ("UnavailableError", "AbortedError", "DeadlineExceededError")
"""Names of TensorFlow's errors that another try may not meet again (its package is not imported here)."""


def failure(error: BaseException, cause: BaseException | None = None) -> pb.Failure:
    """Describe an exception; `cause` is the one to tell people about, if it is not the outermost."""
    told = cause or error
    message = str(told) if isinstance(told, ElasticDLError) else f"{type(told).__name__}: {told}"
    passing = isinstance(told, OSError) or type(told).__name__ in _PASSING
    return pb.Failure(
        message=message,
        traceback="".join(traceback.format_exception(error)),
        transient=passing and not isinstance(told, _LASTING),
    )

"""Exceptions as messages for the master and for users."""

from __future__ import annotations

import re
import traceback

from elasticdl_nb.runtime.errors import DamagedCheckpoint, ElasticDLError, ModelError
from elasticdl_nb.runtime.model.loading.essence import essence
from elasticdl_nb.runtime.protocol import master_pb2 as pb

_LASTING = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError, ImportError)
_PASSING = ("UnavailableError", "AbortedError", "DeadlineExceededError")
"""Names of TensorFlow's errors that may not occur again on another try (its package is not imported here)."""

_NODE = re.compile(r"\[\[\{\{node ([^}]+)\}\}")

LONGEST_TEXT = 64 << 10


def failure(error: BaseException, cause: BaseException | None = None) -> pb.Failure:
    """Describe an exception; `cause` is the one to show to users, if it is not the outermost."""
    told = without_autograph(cause or error)
    message = str(told) if isinstance(told, ElasticDLError) else f"{type(told).__name__}: {_in_graph(str(told))}"
    reason = told.__cause__ if isinstance(told, ModelError) and told.__cause__ else told
    passing = isinstance(reason, OSError) or type(reason).__name__ in _PASSING
    # AutoGraph's copy of an error has lost what caused it.
    causes = "".join(traceback.format_exception(told.__cause__)) if told is not error and told.__cause__ else ""
    return pb.Failure(
        message=shortened(message),
        traceback=shortened(_users_frames(told) + causes + "".join(traceback.format_exception(error))),
        transient=passing and not isinstance(reason, _LASTING),
        checkpoint=told.checkpoint if isinstance(told, DamagedCheckpoint) else "",
    )


def _in_graph(text: str) -> str:
    """Return what an error says and, if it happened in a graph, in which layer: `model/layer/operation`."""
    said, nodes = essence(text), _NODE.findall(text)
    if not nodes or "\n" in said:
        return said
    if nodes[-1].startswith("compile_loss/") and said.startswith("Cast string to"):
        return f"{said}, in the loss: labels that are texts must become numbers in the input function"
    return f"{said} (at {nodes[-1]})"


def shortened(text: str) -> str:
    """Return a text without its middle if it is too long to be read, or for a message to the master."""
    half = LONGEST_TEXT // 2
    return text if len(text) <= LONGEST_TEXT else f"{text[:half]}\n[…]\n{text[-half:]}"


def without_autograph(error: BaseException) -> BaseException:
    """Return the original error where AutoGraph has raised a copy of it with a traceback as its message."""
    original = error.__context__
    return original if type(original) is type(error) and str(error).startswith("in user code:") else error


def _users_frames(error: BaseException) -> str:
    """Return the frames in the user's files that AutoGraph knows; the real traceback shows generated files instead."""
    frames = ""
    cause: BaseException | None = error
    while cause is not None:
        metadata = getattr(cause, "ag_error_metadata", None)
        frames = f"{metadata.to_exception(cause)}\n\n" if metadata else frames
        cause = cause.__cause__
    return frames

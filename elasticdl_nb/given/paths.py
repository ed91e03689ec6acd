"""Paths as a job's processes open them, and whether an output may be written."""

from __future__ import annotations

import fnmatch
import os
import re
import secrets
import tempfile
from pathlib import Path

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.spec import JobSpec

FILE_FORMS = (".recordio", ".parquet", ".csv")
# What a directory of predictions consists of; a directory with anything else in it must not be replaced.
_PART = re.compile(r"[._].*|.*\.(recordio|parquet|csv)")
_REMOTE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://|[\w.-]+@[\w.-]+:")
_GLOB = re.compile(r"[*?\[]")


def is_remote(path: str) -> bool:
    """Whether the path is a URL (or git's USER@HOST:PATH) rather than a path on this machine."""
    return bool(_REMOTE.match(path)) and not path.startswith("file://")


def absolute(path: str) -> str:
    """Return the absolute path, keeping a final slash; URLs and the empty path are returned unchanged."""
    if not path or _REMOTE.match(path):
        return path
    return os.path.abspath(path) + ("/" if path.endswith("/") and path.strip("/") else "")


def with_absolute_paths(spec: JobSpec) -> JobSpec:
    """Return the job with every path independent of the current directory, and of versions that are yet to come."""
    from elasticdl_nb.runtime.storage.versions import newest

    single = ("model_zoo", "trained_model", "output", "checkpoint_dir", "checkpoint_dir_for_init")
    several = ("data", "validation_data")
    spec = spec.replace(
        **{name: absolute(getattr(spec, name)) for name in single},
        **{name: tuple(absolute(path) for path in getattr(spec, name)) for name in several},
    )
    return spec.replace(**{name: newest(getattr(spec, name)) for name in ("trained_model", "checkpoint_dir_for_init")})


def writes_file(spec: JobSpec) -> bool:
    """Whether the output is one file rather than a directory."""
    return spec.kind == "predict" and spec.output.lower().endswith(FILE_FORMS)


def check_output(spec: JobSpec) -> None:
    """Raise OptionError if the job could not write its output, or would destroy something by doing so."""
    if not spec.output:
        return
    if is_remote(spec.output):
        _check_remote(spec)
        return
    output = spec.output.removeprefix("file://").rstrip("/") or "/"
    _check_apart_from_inputs(spec, output)
    if os.path.lexists(output):
        _check_replaceable(spec, output)
    _try_to_write("output", output, within=os.path.dirname(output))


def _check_remote(spec: JobSpec) -> None:
    import fsspec

    try:
        files, path = fsspec.url_to_fs(spec.output)
        exists = bool(files.exists(path))
    except (OSError, ValueError, ImportError) as error:
        raise OptionError("output", f"{spec.output} is unreachable: {error}") from None
    if exists and not spec.overwrite:
        raise _exists(spec)
    probe = f"{path.rstrip('/')}.elasticdl-{secrets.token_hex(4)}"
    try:
        files.pipe_file(probe, b"x")
        files.rm_file(probe)
    except (OSError, ValueError, NotImplementedError) as error:
        raise OptionError("output", f"{spec.output} cannot be written: {error}") from None


def _exists(spec: JobSpec) -> OptionError:
    return OptionError(
        "output", f"{spec.output} already exists; choose another, or replace it with overwrite=True (--overwrite)"
    )


def _check_replaceable(spec: JobSpec, output: str) -> None:
    is_directory = os.path.isdir(output)
    if writes_file(spec) and is_directory:
        raise OptionError("output", f"{output} is a directory, but the predictions would be a file with that name")
    if not writes_file(spec) and not is_directory:
        what = "training writes a directory" if spec.kind == "train" else f"it needs one of {', '.join(FILE_FORMS)}"
        raise OptionError("output", f"{output} is a file; {what}")
    if is_directory and not os.listdir(output):
        return
    if spec.kind == "train" and spec.publish_every:
        from elasticdl_nb.runtime.storage.versions import has_only_versions

        if has_only_versions(output):
            return
        raise OptionError(
            "output", f"{output} has more in it than versions called 1, 2, …, to which publish_every adds others"
        )
    if not spec.overwrite:
        raise _exists(spec)
    if is_directory and not _is_earlier_result(spec, output):
        raise OptionError(
            "output",
            f"{output} has more in it than an earlier result; if you want to replace it, remove it yourself",
        )


def _is_earlier_result(spec: JobSpec, output: str) -> bool:
    if spec.kind == "train":
        return os.path.isfile(os.path.join(output, "trained_model.pb"))
    return all(_PART.fullmatch(entry.name) and not entry.is_dir() for entry in os.scandir(output))


def check_checkpoint_dir(spec: JobSpec) -> None:
    """Raise OptionError if the job could not write its checkpoints."""
    if "://" in spec.checkpoint_dir:
        raise OptionError(
            "checkpoint_dir", f"{spec.checkpoint_dir} is a URL; checkpoints need a directory, which may be on a volume"
        )
    if spec.checkpoint_dir:
        folder = spec.checkpoint_dir.rstrip("/") or "/"
        _try_to_write("checkpoint_dir", folder, within=folder)


def _try_to_write(option: str, path: str, within: str) -> None:
    """Make a folder and a file where `path` will be, and remove them: only the file system knows what it allows.

    They are in `within`, or in the nearest folder above it that exists.
    """
    while not os.path.lexists(within):
        within = os.path.dirname(within)
    if not os.path.isdir(within):
        raise OptionError(option, f"{path} cannot be written: {within} is not a directory")
    try:
        with tempfile.TemporaryDirectory(prefix=".elasticdl-", dir=within) as folder:
            Path(folder, "try").write_bytes(b"x")
    except OSError as error:
        reason = error.strerror or error
        raise OptionError(option, f"{path} cannot be written: nothing can be made in {within} ({reason})") from None


def _check_apart_from_inputs(spec: JobSpec, output: str) -> None:
    data = [("data", path) for path in spec.data] + [("validation_data", path) for path in spec.validation_data]
    if spec.custom_data_reader:
        data = [(option, path) for option, path in data if os.path.isabs(path)]  # others may be anything
    code = [("trained_model", spec.trained_model), ("model_zoo", spec.model_zoo)]
    for option, path in data + code:
        if path and not is_remote(path) and _inside(_fixed_part(path.removeprefix("file://")), output):
            raise OptionError("output", f"{output} would replace the job's own {option}, {path}")
    for option, path in data:
        if not is_remote(path) and _is_read_by(output, path.removeprefix("file://")):
            raise OptionError("output", f"{output} would become part of the job's own {option}, {path}")


def _is_read_by(output: str, pattern: str) -> bool:
    """Whether the job's own data would include the output, the next time it is read."""
    if _GLOB.search(pattern):
        return fnmatch.fnmatch(output, pattern) or fnmatch.fnmatch(output + "/part", pattern)
    return os.path.isdir(pattern) and _inside(output, pattern)


def _fixed_part(path: str) -> str:
    match = _GLOB.search(path)
    return (os.path.dirname(path[: match.start()]) if match else path).rstrip("/") or "/"


def _inside(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or is below it."""
    path, folder = os.path.realpath(path), os.path.realpath(folder)
    return os.path.commonpath([path, folder]) == folder

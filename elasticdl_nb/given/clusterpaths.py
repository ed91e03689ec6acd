"""Paths as a cluster's pods see them: on a mounted volume, in the image, or at a URL."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from elasticdl_nb.given.paths import absolute, is_remote
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.platform.manifests import MODEL_ZOO, job_directory, job_folder
from elasticdl_nb.runtime.spec import JobSpec

_OF_THIS_PROCESS = re.compile(r"(memory|local|simplecache|file)(::|://)")
_OF_THIS_MACHINE = re.compile(r"[a-z0-9+.-]+://(localhost|127\.[\d.]+|\[::1\])([:/]|$)", re.IGNORECASE)


def as_pods_see_it(spec: JobSpec) -> JobSpec:
    """Return the job with default paths filled in, and the path of its code on this machine made absolute."""
    if spec.kind == "train" and not spec.output:
        spec = spec.replace(output=f"{job_folder(spec)}/trained_model")
    if spec.image_name:
        return spec.replace(model_zoo=spec.model_zoo or MODEL_ZOO) if spec.kind == "train" else spec
    return spec.replace(model_zoo=absolute(spec.model_zoo))


def check_visible(spec: JobSpec) -> None:
    """Raise OptionError for a path that the pods cannot see or cannot write to."""
    if not job_directory(spec):
        raise OptionError(
            "volume",
            "required: the job's pods share a folder on a volume that they can write to, such as "
            "volume='claim_name=MY_CLAIM,mount_path=/data' (for a claim that several pods can mount)",
        )
    for option, path in _paths(spec):
        _check(spec, option, path)
    for option in ("job_directory", "checkpoint_dir", "output"):
        if getattr(spec, option):
            _check(spec, option, getattr(spec, option), writes=True)


def path_here(spec: JobSpec, path: str) -> str:
    """Return where this machine may have what pods see at this path, in case it is their node."""
    for volume in spec.volume:
        if "host_path" in volume and _inside(path, volume["mount_path"]):
            inside = os.path.relpath(path, volume["mount_path"])
            return os.path.normpath(os.path.join(volume["host_path"], volume.get("sub_path", "").lstrip("/"), inside))
    return path


def _paths(spec: JobSpec) -> Iterator[tuple[str, str]]:
    if not spec.custom_data_reader:  # its data may be anything
        yield from (("data", path) for path in spec.data)
        yield from (("validation_data", path) for path in spec.validation_data)
    for option in ("trained_model", "checkpoint_dir_for_init"):
        if getattr(spec, option):
            yield option, getattr(spec, option)


def _check(spec: JobSpec, option: str, path: str, *, writes: bool = False) -> None:
    if _OF_THIS_PROCESS.match(path) or _OF_THIS_MACHINE.match(path):
        raise OptionError(option, f"{path} is on this machine, but the job's pods are not")
    if is_remote(path):
        return
    mounts = [volume for volume in spec.volume if _inside(path, volume["mount_path"])]
    if not path.startswith("/") or not (mounts or (not writes and _inside(path, MODEL_ZOO))):
        there = ", ".join(volume["mount_path"] for volume in spec.volume) or "there are none"
        raise OptionError(
            option,
            f"{path} is not visible to the job's pods: it is not on one of their volumes ({there}), and not the URL of "
            "an object store. See the option volume",
        )
    # Volumes may be mounted inside one another.
    if writes and max(mounts, key=lambda volume: len(volume["mount_path"])).get("read_only") == "true":
        raise OptionError(option, f"{path} cannot be written: its volume is mounted read-only")


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.normpath(path), folder]) == folder if path.startswith("/") else False

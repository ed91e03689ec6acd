"""The forms of the options that say how a job runs on Kubernetes; see `forms`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from elasticdl_nb.runtime.errors import did_you_mean
from elasticdl_nb.runtime.spec import forms

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|[kKMGTPE]i?)?")
_RESOURCES = {"gpu": "nvidia.com/gpu", "disk": "ephemeral-storage"}
_KNOWN_RESOURCES = ("cpu", "memory", "gpu", "ephemeral-storage", "disk")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_VOLUME = ("claim_name", "host_path", "mount_path", "sub_path", "read_only")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def object_name(value: Any) -> str:
    """The name of an object of the cluster."""
    name = forms.text(value)
    if name and not _NAME.fullmatch(name):
        raise ValueError("expected lower-case letters, digits, '.' and '-', with a letter or digit at both ends")
    return name


def priority(value: Any) -> str:
    """high, low, the share of processes with high priority ("high=0.5" or "0.5"), or the name of a PriorityClass."""
    text = str(value).strip().removeprefix("high=")
    try:
        share = float(text)
    except ValueError:
        return object_name(text)
    if not 0 <= share <= 1:
        raise ValueError("expected a share between 0 and 1")
    return f"{share:g}"


def resources(value: Any) -> dict[str, str]:
    """Quantities of resources, keyed by their names in Kubernetes; "gpu" stands for NVIDIA's."""
    quantities: dict[str, str] = {}
    for name, quantity in forms.pairs(value).items():
        if name not in _KNOWN_RESOURCES and "/" not in name:
            raise ValueError(
                f"{name!r} is not a resource; use {', '.join(_KNOWN_RESOURCES)}, or a device plugin's, such as "
                f"nvidia.com/gpu.{did_you_mean(name, _KNOWN_RESOURCES)}"
            )
        if not _QUANTITY.fullmatch(quantity):
            raise ValueError(f"{name}={quantity} is not a quantity such as 500m, 2 or 4096Mi")
        quantities[_RESOURCES.get(name, name)] = quantity
    return quantities


def volumes(value: Any) -> tuple[dict[str, str], ...]:
    """Volumes: "claim_name=c1,mount_path=/data; host_path=/d,mount_path=/d,read_only=true", or dictionaries."""
    if isinstance(value, Mapping):
        value = [value]
    parts = forms.text(value).split(";") if isinstance(value, str) else list(value)
    return tuple(_volume(forms.pairs(part)) for part in parts if part)


def _volume(given: dict[str, str]) -> dict[str, str]:
    given.pop("type", None)  # old command lines give it for host paths; Kubernetes looks at what is there
    for name in given:
        if name not in _VOLUME:
            raise ValueError(
                f"{name!r} is not a setting of a volume; expected {', '.join(_VOLUME)}.{did_you_mean(name, _VOLUME)}"
            )
    if ("claim_name" in given) == ("host_path" in given):
        raise ValueError("each volume needs either a claim_name (of a PersistentVolumeClaim) or a host_path, not both")
    for name in ("mount_path", "host_path"):
        if name in given and not given[name].startswith("/"):
            raise ValueError(f"{name}={given[name]} does not start with /")
    if not given.get("mount_path", "").strip("/"):
        raise ValueError("each volume needs a mount_path, such as /data")
    if "read_only" in given:
        given["read_only"] = str(forms.switch(given["read_only"])).lower()
    return {name: text.rstrip("/") or "/" if name.endswith("_path") else text for name, text in given.items()}


def tolerations(value: Any) -> tuple[dict[str, Any], ...]:
    """Taints that pods tolerate: "KEY[=VALUE][:EFFECT],…", or a list of dictionaries as in manifests."""
    if not isinstance(value, str):
        return tuple({str(name): item for name, item in one.items()} for one in value)
    return tuple(_toleration(part.strip()) for part in re.split("[,;]", value) if part.strip())


def _toleration(text: str) -> dict[str, str]:
    rest, _, effect = text.partition(":")
    key, equals, value = rest.partition("=")
    toleration = {"key": key, "operator": "Equal", "value": value} if equals else {"key": key, "operator": "Exists"}
    if effect:
        toleration["effect"] = forms.one_of(_EFFECTS)(effect)
    return toleration


def names(value: Any) -> tuple[str, ...]:
    """Names of objects, separated by commas."""
    parts = forms.text(value).split(",") if isinstance(value, str) else list(value)
    return tuple(object_name(part) for part in parts if part)


def folder(of: str) -> Callable[[Any], str]:
    """The absolute path of a folder inside the pods."""

    def parse(value: Any) -> str:
        path = forms.text(value)
        if not path.startswith("/"):
            raise ValueError(f"expected the path of {of} as the pods see it, starting with /")
        return path.rstrip("/") or "/"

    return parse

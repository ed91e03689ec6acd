"""One namespace of a Kubernetes cluster: objects as plain dictionaries, readable errors, endless watches.

A thin layer over the official client, which finds the cluster and talks to it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticdl_nb.runtime.errors import ClusterError

Object = dict[str, Any]

REQUEST_SECONDS = 20.0
WATCH_SECONDS = 240
"""Seconds after which a watch is renewed, as proxies end long ones."""

QUIET_SECONDS = 30.0
"""Seconds after its expected end at which a silent watch is considered broken."""

LOG_SECONDS = 86_400.0
"""Seconds of silence after which a pod's log is considered complete."""

RETRY_SECONDS = 1.0
_GONE = 410
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_APIS = {
    "Pod": ("CoreV1Api", "pod"),
    "Secret": ("CoreV1Api", "secret"),
    "ConfigMap": ("CoreV1Api", "config_map"),
    "Service": ("CoreV1Api", "service"),
    "ServiceAccount": ("CoreV1Api", "service_account"),
    "Event": ("CoreV1Api", "event"),
    "Job": ("BatchV1Api", "job"),
    "Role": ("RbacAuthorizationV1Api", "role"),
    "RoleBinding": ("RbacAuthorizationV1Api", "role_binding"),
}


@dataclass(frozen=True)
class Listing:
    """All objects of a watch as they are now; `asked_at` is when the request was made."""

    items: list[Object]
    asked_at: float


@dataclass(frozen=True)
class Change:
    """One object of a watch has changed, or is gone; then this is how it was last."""

    item: Object
    gone: bool


class Cluster:
    """One namespace of the cluster that the kube-config names or, inside a pod, of the pod's own cluster.

    Every method raises ClusterError. Safe to use from several threads.
    """

    def __init__(self, context: str = "", namespace: str = "") -> None:
        client, self.context, default = _configured(context)
        self.namespace = namespace or default
        self._client = client

    @property
    def host(self) -> str:
        """The URL of the API server."""
        return str(self._client.configuration.host)

    def sibling(self) -> Any:
        """Return a client of the same cluster that shares nothing with this object's other clients."""
        import kubernetes.client

        return kubernetes.client.ApiClient(self._client.configuration)

    # ------------------------------------------------------------ objects

    def create(self, body: Mapping[str, Any]) -> Object:
        """Create an object and return it."""
        return self._call("create", str(body["kind"]), dict(body))

    def get(self, kind: str, name: str) -> Object:
        """Return an object."""
        return self._call("read", kind, name=name)

    def find(self, kind: str, name: str) -> Object | None:
        """Return an object, or None if it does not exist."""
        try:
            return self.get(kind, name)
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def patch(self, kind: str, name: str, change: Mapping[str, Any]) -> Object:
        """Merge a change into an object and return it."""
        return self._call("patch", kind, dict(change), name=name)

    def list(self, kind: str, labels: str = "", fields: str = "") -> list[Object]:
        """Return the objects with these labels and fields."""
        listing = self._call("list", kind, label_selector=labels, field_selector=fields)
        return list(listing.get("items") or [])

    def delete(self, kind: str, name: str, grace: int | None = None) -> None:
        """Delete an object and what it owns, if it exists. Pods get `grace` seconds to end by themselves."""
        options = {} if grace is None else {"grace_period_seconds": grace}
        try:
            self._call("delete", kind, name=name, propagation_policy="Background", **options)
        except ClusterError as error:
            if error.status != 404:
                raise

    def log(self, pod: str, **options: Any) -> Iterator[bytes]:
        """Yield a pod's output as it comes; see `read_namespaced_pod_log` for the options."""
        response = self._request(
            lambda: self._api("CoreV1Api").read_namespaced_pod_log(
                pod, self.namespace, _preload_content=False, _request_timeout=(REQUEST_SECONDS, LOG_SECONDS), **options
            ),
            f"read the log of {pod}",
        )
        with contextlib.closing(response):
            yield from _translated(response.stream(amt=None), self.host)

    # ------------------------------------------------------------ watches

    def watch(self, kind: str, labels: str, stopped: threading.Event) -> Iterator[Listing | Change | ClusterError]:
        """Yield all objects with these labels, and then every change, even if the connection breaks.

        If the cluster is unreachable, or has lost the watch's position, the request is repeated, for all objects if
        necessary. Errors are yielded too, to be logged. Ends only when it is `stopped`.
        """
        version = ""
        while not stopped.is_set():
            try:
                if not version:
                    asked_at = time.monotonic()
                    listing = self._call("list", kind, label_selector=labels)
                    version = listing["metadata"]["resourceVersion"]
                    yield Listing(list(listing.get("items") or []), asked_at)
                for event in self._events(kind, labels, version):
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ClusterError(str(item.get("message")), int(item.get("code") or 0))
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        yield Change(item, event["type"] == "DELETED")
                    if stopped.is_set():
                        return
            except ClusterError as error:
                if error.status == _GONE:
                    version = ""
                    continue
                yield error
                stopped.wait(RETRY_SECONDS)

    def _events(self, kind: str, labels: str, version: str) -> Iterator[Object]:
        response = self._raw(
            "list", kind, label_selector=labels, watch=True, resource_version=version, allow_watch_bookmarks=True,
            timeout_seconds=WATCH_SECONDS, _request_timeout=(REQUEST_SECONDS, WATCH_SECONDS + QUIET_SECONDS),
        )  # fmt: skip
        rest = b""
        with contextlib.closing(response):
            for part in _translated(response.stream(amt=None), self.host):
                *lines, rest = (rest + part).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield json.loads(line)

    # ------------------------------------------------------------ requests

    def _call(self, verb: str, kind: str, body: Any = None, **options: Any) -> Object:
        response = self._raw(verb, kind, body, _request_timeout=REQUEST_SECONDS, **options)
        with contextlib.closing(response):
            return dict(json.loads(b"".join(_translated(response.stream(amt=None), self.host))))

    def _raw(self, verb: str, kind: str, body: Any = None, name: str = "", **options: Any) -> Any:
        group, noun = _APIS[kind]
        method = getattr(self._api(group), f"{verb}_namespaced_{noun}")
        named = {"name": name} if name else {}
        content = {"body": body} if body is not None else {}
        options = {key: value for key, value in options.items() if value != ""}
        what = f"{verb} {kind} {name or (body or {}).get('metadata', {}).get('name', '')}".strip()
        return self._request(
            lambda: method(namespace=self.namespace, _preload_content=False, **named, **content, **options), what
        )

    def _api(self, group: str) -> Any:
        import kubernetes.client

        return getattr(kubernetes.client, group)(self._client)

    def _request(self, call: Callable[[], Any], what: str) -> Any:
        import urllib3
        from kubernetes.client.exceptions import ApiException

        try:
            return call()
        except ApiException as error:
            raise _refusal(error, what, self.namespace) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _unreachable(self.host, error) from None


def _translated(parts: Iterator[bytes], host: str) -> Iterator[bytes]:
    import urllib3

    try:
        yield from parts
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _unreachable(host, error) from None


def _unreachable(host: str, error: Exception) -> ClusterError:
    reason = getattr(error, "reason", None) or error
    text = str(reason).partition(": ")[2] or str(reason)
    return ClusterError(f"the cluster at {host} is unreachable: {text}")


def _refusal(error: Any, what: str, namespace: str) -> ClusterError:
    """Return the API server's answer as an error that users understand."""
    message = str(error.reason or "no reason given")
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        message = json.loads(error.body)["message"]
    status = int(error.status or 0)
    if status == 401:
        message = f"it does not accept the credentials in the kube-config ({message})"
    elif status == 403 and "quota" not in message:
        message += ". An administrator can grant the rights that jobs need with docs/kubernetes-rbac.yaml"
    elif status == 404 and f'namespaces "{namespace}" not found' in message:
        message = (
            f"there is no namespace {namespace!r}; use another, or create it with kubectl create namespace {namespace}"
        )
    return ClusterError(f"the cluster did not {what}: {message}", status)


def _configured(context: str) -> tuple[Any, str, str]:
    """Return a client, its context and that context's namespace."""
    try:
        import kubernetes.client
        import kubernetes.config
    except ImportError:
        raise ClusterError(
            "jobs on Kubernetes need the official Kubernetes client: pip install elasticdl_nb[kubernetes]"
        ) from None
    configuration = kubernetes.client.Configuration()
    try:
        if not context and _NAMESPACE_FILE.exists() and not os.environ.get("KUBECONFIG"):
            kubernetes.config.load_incluster_config(client_configuration=configuration)
            name, namespace = "", _NAMESPACE_FILE.read_text().strip()
        else:
            # Read here, as the client reads the variable only once, when it is imported.
            path = os.environ.get("KUBECONFIG") or "~/.kube/config"
            contexts, current = kubernetes.config.list_kube_config_contexts(path)
            chosen = next((one for one in contexts if one["name"] == context), None) if context else current
            if chosen is None:
                known = ", ".join(one["name"] for one in contexts)
                raise ClusterError(f"the kube-config has no context {context!r}; it has: {known}")
            name, namespace = chosen["name"], chosen["context"].get("namespace") or "default"
            kubernetes.config.load_kube_config(path, context=name, client_configuration=configuration)
    except (kubernetes.config.ConfigException, OSError, KeyError) as error:
        where = os.environ.get("KUBECONFIG") or "~/.kube/config"
        raise ClusterError(f"no cluster is configured: the kube-config {where} cannot be used: {error}") from None
    configuration.retries = False
    return kubernetes.client.ApiClient(configuration), name, namespace

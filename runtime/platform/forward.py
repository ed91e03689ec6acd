"""A local port whose connections are carried to a port of a pod, through the cluster's API server."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from typing import Any

from elasticdl_nb.runtime.platform.kubeapi import Cluster

_CHUNK = 1 << 16
_PATIENCE = 20.0
logger = logging.getLogger(__name__)


class Forward:
    """Listens on a free port of the loopback address; `pod` is the one that new connections go to, "" for none."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster, self._remote_port = cluster, port
        self.pod = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name=f"forward-{port}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._carry, args=(connection,), daemon=True).start()

    def _carry(self, local: socket.socket) -> None:
        with contextlib.closing(local):
            if not self.pod:
                return
            try:
                forward = self._open(self.pod)
            except Exception as error:  # of the client, of its WebSockets, of TLS: the connection ends, whoever wants
                logger.warning("cannot reach port %d of %s: %s", self._remote_port, self.pod, error)  # it tries again
                return
            remote = forward.socket(self._remote_port)
            back = threading.Thread(target=_pump, args=(remote, local), daemon=True)
            back.start()
            _pump(local, remote)
            back.join(_PATIENCE)
            remote.close()

    def _open(self, pod: str) -> Any:
        import kubernetes.client
        from kubernetes.stream import portforward

        # Of its own: while it opens a connection, the client can do nothing else.
        api = kubernetes.client.CoreV1Api(self._cluster.sibling())
        return portforward(
            api.connect_get_namespaced_pod_portforward, pod, self._cluster.namespace, ports=str(self._remote_port)
        )


def _pump(source: Any, target: Any) -> None:
    """Carry what comes until the source ends, and tell the target so."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)

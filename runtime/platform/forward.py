"""A local port whose connections are forwarded to a port of a pod, through the cluster's API server.

Each connection is a WebSocket of its own, to the pod's `portforward`. Its messages begin with the number of a channel,
0 for data, 1 for errors; the first message of each channel only repeats the port's number.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from typing import Any

from elasticdl_nb.runtime.platform.kubeapi import Cluster

_CHUNK = 1 << 16
_PROTOCOL = "v4.channel.k8s.io"
_DATA = 0
logger = logging.getLogger(__name__)


class Forward:
    """Listens on a free port of the loopback address; new connections go to `pod`, or nowhere if it is ""."""

    def __init__(self, cluster: Cluster, port: int) -> None:
        self._cluster, self._remote_port = cluster, port
        self.pod = ""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, name=f"forward-{port}", daemon=True).start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, local: socket.socket) -> None:
        with contextlib.closing(local):
            if not self.pod:
                return
            try:
                remote = self._open(self.pod)
            except (
                Exception
            ) as error:  # from the client, WebSockets or TLS: the connection ends, and whoever made it may retry
                logger.warning("cannot reach port %d of %s: %s", self._remote_port, self.pod, error)
                return
            try:
                _carry(local, remote)
            except Exception as error:  # the same
                logger.info("a connection to %s broke: %s", self.pod, error)
            finally:
                remote.shutdown()

    def _open(self, pod: str) -> Any:
        from kubernetes.stream import ws_client

        configuration = self._cluster.sibling().configuration
        headers = {"sec-websocket-protocol": _PROTOCOL}
        headers |= {one["key"]: one["value"] for one in configuration.auth_settings().values() if one["in"] == "header"}
        path = f"/api/v1/namespaces/{self._cluster.namespace}/pods/{pod}/portforward"
        url = ws_client.get_websocket_url(self._cluster.host + path, [("ports", str(self._remote_port))])
        return ws_client.create_websocket(configuration, url, headers)


def _carry(local: socket.socket, remote: Any) -> None:
    """Carry data in both directions, until one end closes."""
    with selectors.DefaultSelector() as selector:
        selector.register(local, selectors.EVENT_READ)
        selector.register(remote.sock, selectors.EVENT_READ)
        greeted: set[int] = set()
        while True:
            for key, _ in selector.select():
                if key.fileobj is local:
                    data = local.recv(_CHUNK)
                    if not data:
                        return
                    remote.send_binary(bytes([_DATA]) + data)
                elif not _take_all(local, remote, greeted):
                    return


def _take_all(local: socket.socket, remote: Any, greeted: set[int]) -> bool:
    """Pass on the messages that have arrived; return whether there may be more later."""
    from websocket import ABNF

    while True:
        opcode, frame = remote.recv_data_frame(True)
        if opcode == ABNF.OPCODE_CLOSE:
            return False
        if opcode == ABNF.OPCODE_BINARY and frame.data:
            channel, payload = frame.data[0], frame.data[1:]
            if channel not in greeted:
                greeted.add(channel)
            elif channel == _DATA:
                local.sendall(payload)
            else:
                raise ConnectionError(payload.decode(errors="replace"))
        # Data that TLS has already decrypted does not make the socket readable.
        if not getattr(remote.sock, "pending", int)():
            return True

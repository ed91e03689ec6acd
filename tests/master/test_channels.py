"""How a job's processes reach its master: in plain text on one machine, by TLS between machines."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.protocol import channels
from elasticdl_nb.runtime.protocol.network import Network

TOKEN = "t" * 64


@contextlib.contextmanager
def echo(network: Network) -> Iterator[str]:
    """A server that answers every call with what it was sent, at the address that is given."""

    class Echo(grpc.GenericRpcHandler):
        def service(self, _details):
            return grpc.unary_unary_rpc_method_handler(lambda request, _context: request)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Echo()])
    address = channels.listen(server, network, TOKEN)
    server.start()
    try:
        yield address
    finally:
        server.stop(None).wait()


def ask(address: str, token: str = TOKEN) -> bytes:
    with channels.connect(address, token, [("grpc.enable_http_proxy", 0)]) as channel:
        return channel.unary_unary("/any/thing")(b"hello", timeout=10, wait_for_ready=False)


def test_on_one_machine_nothing_is_encrypted():
    with echo(Network()) as address:
        assert address.startswith("127.0.0.1:")
        assert ask(address) == b"hello"


@pytest.mark.parametrize(
    "network", [Network.at("127.0.0.2", encrypt=True), Network.at("0.0.0.0", "127.0.0.3")], ids=str
)
def test_between_machines_only_those_with_the_token_are_understood(network):
    with echo(network) as address:
        assert address.startswith(f"tls://{network.advertise}:")
        assert ask(address) == b"hello"
        for other in (lambda: ask(address, "x" * 64), lambda: ask(address.removeprefix("tls://"))):
            with pytest.raises(grpc.RpcError) as refused:
                other()
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_what_is_bound_elsewhere_than_on_loopback_is_always_encrypted():
    assert Network.of({}) == Network("127.0.0.1", "127.0.0.1", encrypted=False)
    assert Network.of({"ELASTICDL_BIND": "10.0.0.7"}) == Network("10.0.0.7", "10.0.0.7", encrypted=True)
    assert Network.of({"ELASTICDL_BIND": "::", "ELASTICDL_ADVERTISE": "fd00::7"}).reached_at(80) == "[fd00::7]:80"
    assert not Network.of({"ELASTICDL_BIND": "127.0.0.9", "ELASTICDL_ENCRYPT": "0"}).encrypted


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ELASTICDL_BIND": "example.org"}, "ELASTICDL_BIND: 'example.org' is not an IP address"),
        ({"ELASTICDL_BIND": "0.0.0.0"}, "ELASTICDL_ADVERTISE: required with ELASTICDL_BIND=0.0.0.0"),
    ],
)
def test_places_that_cannot_be_are_refused(environment, message):
    with pytest.raises(OptionError, match=message):
        Network.of(environment)


@pytest.mark.parametrize(("given", "used"), [(None, "ERROR"), ("INFO", "INFO")])
def test_grpc_prints_no_news_of_connections_unless_asked_to(given, used):
    environment = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    environment |= {"GRPC_VERBOSITY": given} if given else {}
    program = "import os, elasticdl_nb.runtime.control.masterclient; print(os.environ['GRPC_VERBOSITY'])"
    printed = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert printed.stdout.strip() == used

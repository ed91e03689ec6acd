"""The job's token on calls to the master: no kind of call gets in without it."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from elasticdl_nb.runtime.protocol.auth import RequireToken, metadata

TOKEN = "t" * 64
KINDS = [f"{request}_{answer}" for request in ("unary", "stream") for answer in ("unary", "stream")]


class Echo(grpc.GenericRpcHandler):
    """Answers calls of every kind with what they send, or with b"nothing"."""

    def service(self, details):
        async def one(request, _context):
            return request if isinstance(request, bytes) else b"nothing"

        async def many(_request, _context):
            yield b"nothing"

        kind = details.method.rpartition("/")[2]
        handler = getattr(grpc, f"{kind}_rpc_method_handler")
        return handler(one if kind.endswith("unary") else many)


async def outcome(channel: grpc.aio.Channel, kind: str, sent) -> str:
    call = getattr(channel, kind)(f"/any/{kind}")
    argument = b"hello" if kind.startswith("unary") else iter([b"hello"])
    started = call(argument, metadata=sent, timeout=10)
    try:
        if kind.endswith("unary"):
            await started
        else:
            assert [answer async for answer in started]
    except grpc.RpcError as error:
        return error.code().name
    return "answered"


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_needs_the_token(kind):
    async def run() -> list[str]:
        server = grpc.aio.server(interceptors=[RequireToken(TOKEN)], handlers=[Echo()])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_http_proxy", 0)]) as channel:
                tries = [metadata(TOKEN), None, metadata("x" * 64), metadata(""), (("authorization", TOKEN),)]
                return [await outcome(channel, kind, sent) for sent in tries]
        finally:
            await server.stop(None)

    assert asyncio.run(run()) == ["answered", *["UNAUTHENTICATED"] * 4]

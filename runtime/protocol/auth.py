"""The job's token: carried by every call, and the source of the secret in the dashboard's URL."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence

import grpc

KEY = "authorization"


def metadata(token: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata that a caller adds to a call."""
    return ((KEY, f"Bearer {token}"),)


def url_secret(token: str) -> str:
    """Return the secret in the dashboard URL of the job with this token; it does not reveal the token."""
    return hashlib.blake2b(token.encode(), digest_size=18, person=b"elasticdl page").hexdigest()


class RequireToken(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses every call that does not carry the job's token."""

    def __init__(self, token: str) -> None:
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        """Pass the call on, or answer it with UNAUTHENTICATED."""
        handler = await continuation(handler_call_details)
        if handler is None or self._admits(handler_call_details.invocation_metadata):
            return handler
        return _REFUSAL

    def _admits(self, pairs: Sequence[tuple[str, str]]) -> bool:
        given = dict(pairs).get(KEY, "")
        return hmac.compare_digest(given.encode(), self._expected)


async def _refuse(_requests: object, context: grpc.aio.ServicerContext[object, object]) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "this call needs the job's token")


# For calls of every kind: even a stream of requests is refused before any of them is read.
_REFUSAL = grpc.stream_stream_rpc_method_handler(_refuse)  # type: ignore[arg-type]

"""What a job's processes may send to its master: as much as a job like theirs needs."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from elasticdl_nb.runtime.control import sizes
from elasticdl_nb.runtime.protocol import channels
from elasticdl_nb.runtime.protocol import master_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import RequireToken, metadata
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.runtime.worker.failures import LONGEST_TEXT, failure

GIVEN = {"model_def": "m", "data": "f"}
PLAIN = JobSpec.create("train", **GIVEN)
EVALUATES = JobSpec.create("train", **GIVEN, validation_data="v")
COUNTS = JobSpec.create("train", **GIVEN, custom_data_reader="reader")


def states(values: int) -> pb.WorkerMessage:
    array = pb.Array(shape=[values], values=[1.0] * values)
    return pb.WorkerMessage(task_done=pb.TaskDone(states=[pb.MetricState(name="confusion", arrays=[array])]))


def test_the_limit_follows_from_the_job():
    size = states(1_000_000).ByteSize()
    sizes.check("task_done", size, EVALUATES)
    with pytest.raises(sizes.TooLargeForMaster, match=r"7.6 MiB, but 1 MiB are the most .* the states of the metrics"):
        sizes.check("task_done", size, PLAIN)
    sizes.check("data_counted", size, COUNTS)
    with pytest.raises(sizes.TooLargeForMaster, match=r"but 65 MiB are the most .* let each have more records"):
        sizes.check("data_counted", 70 << 20, COUNTS)


def test_an_error_with_a_very_long_text_fits():
    told = failure(ValueError("a" * 10_000_000 + "the end"))
    assert told.ByteSize() < 3 * LONGEST_TEXT < sizes.PLAIN and told.message.endswith("the end")


def test_a_message_over_the_limit_ends_its_own_call_only():
    async def echo(request: bytes, _context: object) -> bytes:
        return request[:1]

    class Echo(grpc.GenericRpcHandler):
        def service(self, _details: object) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(echo)

    async def scene() -> None:
        options = channels.server_options(sizes.largest_to_master(PLAIN))
        server = grpc.aio.server(interceptors=[RequireToken("t")], handlers=[Echo()], options=options)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with (
                grpc.aio.insecure_channel(f"127.0.0.1:{port}") as one,
                grpc.aio.insecure_channel(f"127.0.0.1:{port}") as other,
            ):
                asked = other.unary_unary("/e/e")
                assert await asked(b"x" * 1_000_000, metadata=metadata("t"), timeout=20) == b"x"
                with pytest.raises(grpc.aio.AioRpcError, match="larger than max") as refused:
                    await one.unary_unary("/e/e")(b"x" * 2_000_000, metadata=metadata("t"), timeout=20)
                assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                assert await asked(b"x" * 1_000_000, metadata=metadata("t"), timeout=20) == b"x"
        finally:
            await server.stop(None)

    asyncio.run(scene())

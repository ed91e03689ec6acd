"""TensorFlow Serving's gRPC services: `PredictionService` and `ModelService`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from elasticdl_nb.runtime.protocol import serving_pb2 as pb
from elasticdl_nb.runtime.protocol.auth import RequireToken
from elasticdl_nb.runtime.protocol.channels import server_options
from elasticdl_nb.runtime.serving import tensors
from elasticdl_nb.runtime.serving.answers import SIGNATURE, Answers
from elasticdl_nb.runtime.serving.form import check_names
from elasticdl_nb.runtime.serving.limits import IDLE_SECONDS
from elasticdl_nb.runtime.serving.metrics import Metrics
from elasticdl_nb.runtime.serving.problems import Refused, invalid
from elasticdl_nb.runtime.serving.versions import Version

Context = grpc.aio.ServicerContext[Any, Any]
_SIGNATURES = "type.googleapis.com/tensorflow.serving.SignatureDefMap"


class RpcServer:
    """Serves until it is closed; a message has at most `largest` bytes."""

    def __init__(self, answers: Answers, metrics: Metrics, token: str, largest: int) -> None:
        self._answers, self._metrics, self._largest = answers, metrics, largest
        options: dict[str, Any] = {**dict(server_options(largest)), "grpc.max_send_message_length": -1}
        if not token:  # whoever can connect is trusted; otherwise, the limits for strangers stay
            options |= {
                "grpc.max_concurrent_streams": 1024, "grpc.max_connection_idle_ms": int(IDLE_SECONDS * 1000),
                "grpc.http2.lookahead_bytes": 1 << 20,
            }  # fmt: skip
        self._server = grpc.aio.server(interceptors=[RequireToken(token)] if token else [], options=[*options.items()])
        self._add("PredictionService", {
            "Predict": (self._predict, pb.PredictRequest),
            "GetModelMetadata": (self._metadata, pb.GetModelMetadataRequest),
            "Classify": (self._refusing("classify"), None), "Regress": (self._refusing("regress"), None),
        })  # fmt: skip
        self._add("ModelService", {"GetModelStatus": (self._status, pb.GetModelStatusRequest)})

    def start_at(self, place: str, credentials: grpc.ServerCredentials | None) -> int:
        """Take the address, and return the port; raises RuntimeError if it is not available."""
        if credentials is None:
            return int(self._server.add_insecure_port(place))
        return int(self._server.add_secure_port(place, credentials))

    async def start(self) -> None:
        """Begin to answer."""
        await self._server.start()

    async def close(self, grace: float) -> None:
        """Finish the calls that are being answered, within so many seconds, and end."""
        await self._server.stop(grace)

    # ------------------------------------------------------------ calls

    def _add(self, service: str, methods: dict[str, tuple[Any, Any]]) -> None:
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                self._counted(method), _parser(kind), lambda response: response.SerializeToString()
            )
            for name, (method, kind) in methods.items()
        }
        name = f"tensorflow.serving.{service}"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))

    def _counted(self, method: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            begun, outcome, text = time.monotonic(), "OK", ""
            try:
                if request is None:
                    raise invalid("the request cannot be decoded")
                return await method(request, context)
            except Refused as error:
                outcome, text = error.problem.grpc, str(error)
            except Exception as error:
                outcome, text = "INTERNAL", f"the server failed: {type(error).__name__}: {error}"
            finally:
                self._metrics.request("grpc", self._answers.name, outcome, time.monotonic() - begun)
            return await context.abort(grpc.StatusCode[outcome], text)

        return call

    def _version(self, spec: pb.ModelSpec) -> Version:
        number = spec.version.value if spec.HasField("version") else None
        return self._answers.version(spec.name, number, spec.version_label)

    def _spec(self, version: Version) -> pb.ModelSpec:
        spec = pb.ModelSpec(name=self._answers.name, signature_name=SIGNATURE)
        spec.version.value = version.number
        return spec

    async def _predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        version = self._version(request.model_spec)
        self._answers.check_signature(request.model_spec.signature_name)
        check_names(request.inputs, version.model.inputs)
        inputs = tensors.arrays({name: request.inputs[name] for name in version.model.inputs}, self._largest)
        outputs = await self._answers.predict(version, inputs, context.time_remaining(), list(request.output_filter))
        return pb.PredictResponse(outputs=tensors.messages(outputs), model_spec=self._spec(version))

    async def _metadata(self, request: pb.GetModelMetadataRequest, _: Context) -> pb.GetModelMetadataResponse:
        version = self._version(request.model_spec)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        if unknown := [one for one in request.metadata_field if one != "signature_def"]:
            raise invalid(f"Metadata field {unknown[0]} is not supported")
        signature = tensors.signature(version.model.inputs, version.model.outputs)
        value = pb.SignatureDefMap(signature_def={SIGNATURE: signature}).SerializeToString()
        found = {"signature_def": AnyMessage(type_url=_SIGNATURES, value=value)}
        return pb.GetModelMetadataResponse(model_spec=self._spec(version), metadata=found)

    async def _status(self, request: pb.GetModelStatusRequest, _: Context) -> pb.GetModelStatusResponse:
        version = self._version(request.model_spec)
        one = pb.ModelVersionStatus(version=version.number, state=pb.ModelVersionStatus.AVAILABLE, status=pb.Status())
        return pb.GetModelStatusResponse(model_version_status=[one])

    def _refusing(self, verb: str) -> Callable[[Any, Context], Awaitable[Any]]:
        async def refuse(_request: Any, _context: Context) -> Any:
            raise self._answers.other_verb(verb)

        return refuse


def _parser(kind: Any) -> Callable[[bytes], Any]:
    """Return what reads a request; None stands for one that cannot be read."""

    def parse(content: bytes) -> Any:
        if kind is None:
            return content
        try:
            return kind.FromString(content)
        except Exception:  # protobuf raises errors of its own for malformed messages
            return None

    return parse

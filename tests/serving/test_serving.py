"""A server of predictions in a process of its own: both protocols, swaps under load, and clients that send nonsense."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from clients_of_others import TENSORFLOW_SERVING

import elasticdl_nb
from elasticdl_nb.runtime.errors import OptionError
from elasticdl_nb.runtime.model.contract import ModelDefinition
from elasticdl_nb.runtime.model.loading.loader import load
from elasticdl_nb.runtime.model.saving.trained import write_trained_model
from elasticdl_nb.runtime.protocol import serving_pb2 as pb
from elasticdl_nb.runtime.serving import tensors
from elasticdl_nb.runtime.spec import JobSpec
from elasticdl_nb.serving import Server

MODEL = """
import keras

def custom_model(value=0.0):
    given = {"ids": keras.Input((3,), dtype="int64", name="ids"), "x": keras.Input((), name="x")}
    rows = keras.layers.Embedding(10, 2, name="rows")(given["ids"])
    total = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=keras.initializers.Constant(value))(
        keras.layers.Concatenate()([keras.layers.Flatten()(rows), keras.layers.Reshape((1,))(given["x"])])
    )
    return keras.Model(given, {"score": total, "ids": given["ids"]})

def loss(labels, outputs):
    return outputs

def input_fn(record):
    return record
"""
TOKEN = "a-token-of-tests"


def write(zoo: Path, target: Path, value: float) -> float:
    """Write a model whose weights are zeros but for its bias; return what it predicts for x=0."""
    spec = JobSpec.create(
        "train", model_def="served", params=f"value={value}", data="x", output="y", input_fn="served.input_fn"
    )
    loaded = load(ModelDefinition.from_spec(spec, os.fspath(zoo)))
    embeddings = loaded.model.get_layer("rows")
    embeddings.set_weights([np.zeros((10, 2), np.float32)])
    write_trained_model(
        target, spec=spec, loaded=loaded, zoo=os.fspath(zoo), metrics={}, step=1, job_name="j", saved_model=False
    )
    return value


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    (folder / "served.py").write_text(MODEL)
    return folder


@pytest.fixture(scope="module")
def versions(zoo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("versions")
    write(zoo, folder / "1", 1.0)
    return folder


@pytest.fixture(scope="module")
def server(versions: Path) -> Iterator[Server]:
    with elasticdl_nb.serve(versions, name="scores", max_request_mb=1) as running:
        yield running
    assert not running.is_running


def ask(url: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, content, headers or {}), timeout=60) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text.startswith(b"{") else text.decode()
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())["error"]


def record(x: float = 0.0, ids: list[int] | None = None) -> dict[str, Any]:
    return {"ids": ids or [1, 2, 3], "x": x}


def call(address: str, method: str, request: Any, response: Any, token: str = "") -> Any:
    with grpc.insecure_channel(address) as channel:
        send = channel.unary_unary(
            f"/tensorflow.serving.{method}",
            request_serializer=lambda one: one if isinstance(one, bytes) else one.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return send(request, timeout=60, metadata=(("authorization", f"Bearer {token}"),) if token else ())


def predict_request(x: float, version: int | None = None, more: dict[str, Any] | None = None) -> pb.PredictRequest:
    values = {"ids": np.array([[1, 2, 3]]), "x": np.array([x], np.float32)} | (more or {})
    request = pb.PredictRequest(model_spec=pb.ModelSpec(name="scores"), inputs=tensors.messages(values))
    if version is not None:
        request.model_spec.version.value = version
    return request


def test_rest_requests_are_answered_as_tensorflow_serving_does(server: Server) -> None:
    url = f"{server.url}:predict"
    assert ask(url, {"instances": [record(), record(1.5)]})[1]["predictions"] == [
        {"score": [1.0], "ids": [1, 2, 3]},
        {"score": [2.5], "ids": [1, 2, 3]},
    ]
    columns = {"ids": [[1, 2, 3]], "x": [2]}
    assert ask(url, {"inputs": columns})[1] == {"outputs": {"score": [[3.0]], "ids": [[1, 2, 3]]}}
    assert ask(f"{server.url}/versions/1:predict", {"inputs": columns})[0] == 200
    status = ask(server.url)[1]["model_version_status"]
    assert [(one["version"], one["state"]) for one in status] == [("1", "AVAILABLE")]
    definition = ask(f"{server.url}/metadata")[1]["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert definition["inputs"]["ids"]["dtype"] == "DT_INT64"
    assert definition["outputs"]["score"]["tensor_shape"]["dim"][1]["size"] == "1"
    base = server.url.partition("/v1")[0]
    for path in ("/metrics", "/monitoring/prometheus/metrics"):
        assert 'requests_total{protocol="http",model="scores",outcome="OK"}' in ask(base + path)[1]


def test_what_cannot_be_answered_is_an_error_of_the_protocol(server: Server) -> None:
    url, base = f"{server.url}:predict", server.url.partition("/v1")[0]
    for path, body, status, message in (
        (f"{server.url}/versions/7:predict", {"instances": [record()]}, 404, "Servable not found"),
        (
            f"{base}/v1/models/other:predict",
            {"instances": [record()]},
            404,
            "Servable not found for request: Latest(other)",
        ),
        (f"{server.url}/labels/stable:predict", {"instances": [record()]}, 400, "no labels"),
        (f"{server.url}:classify", {}, 400, "Expected classification signature"),
        (f"{server.url}:regress", {}, 400, "Expected regression signature"),
        (f"{base}/v1/nothing", None, 404, "Malformed request"),
        (url, None, 404, "Malformed request"),
        (url, {"instances": [record(ids=[1, 2])]}, 400, "must be int64 [?, 3]"),
        (url, b"{", 400, "JSON Parse error"),
        (url, {"instances": [record(ids=[1, 2, 77])]}, 400, "77"),
        (url, b" " * (2 << 20), 413, "more than"),
        (url, {"instances": [record()], "signature_name": "other"}, 400, "'other' not found"),
    ):
        found = ask(path, body)
        assert found[0] == status, (path, found)
        assert message in found[1]
    assert ask(url, {"instances": [record()]}, {"Origin": "http://example.com"})[0] == 403
    assert ask(url, {"instances": [record()]}, {"Host": "example.com"})[0] == 421


def test_grpc_calls_are_answered_as_tensorflow_serving_does(server: Server) -> None:
    answer = call(server.grpc, "PredictionService/Predict", predict_request(2.0, 1), pb.PredictResponse)
    assert tensors.arrays(answer.outputs, 1 << 20)["score"].tolist() == [[3.0]]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("scores", 1)
    filtered = predict_request(2.0)
    filtered.output_filter.append("score")
    assert set(call(server.grpc, "PredictionService/Predict", filtered, pb.PredictResponse).outputs) == {"score"}
    spec = pb.ModelSpec(name="scores")
    status = call(
        server.grpc, "ModelService/GetModelStatus", pb.GetModelStatusRequest(model_spec=spec), pb.GetModelStatusResponse
    )
    assert status.model_version_status[0].state == pb.ModelVersionStatus.AVAILABLE
    wanted = pb.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    metadata = call(server.grpc, "PredictionService/GetModelMetadata", wanted, pb.GetModelMetadataResponse).metadata
    assert metadata["signature_def"].type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    large = predict_request(0.0, more={"x": np.zeros(1 << 20, np.float32)})
    for method, request, code in (
        ("PredictionService/Predict", predict_request(0.0, 9), "NOT_FOUND"),
        ("PredictionService/Predict", large, "RESOURCE_EXHAUSTED"),
        ("PredictionService/Predict", predict_request(0.0, more={"more": np.zeros(1)}), "INVALID_ARGUMENT"),
        ("PredictionService/Predict", b"\xff\xff", "INVALID_ARGUMENT"),
        ("PredictionService/Classify", b"", "INVALID_ARGUMENT"),
        ("PredictionService/Other", b"", "UNIMPLEMENTED"),
    ):
        with pytest.raises(grpc.RpcError) as raised:
            call(server.grpc, method, request, pb.PredictResponse)
        assert raised.value.code() is grpc.StatusCode[code], (method, raised.value)


CLIENT = """
import sys
import grpc, tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, model_service_pb2_grpc, get_model_status_pb2
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
channel = grpc.insecure_channel(sys.argv[1])
request = predict_pb2.PredictRequest()
request.model_spec.name = "scores"
request.model_spec.signature_name = "serving_default"
request.inputs["ids"].CopyFrom(tf.make_tensor_proto([[1, 2, 3]], tf.int64))
request.inputs["x"].CopyFrom(tf.make_tensor_proto([2.0]))
stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
answer = stub.Predict(request, 30)
assert tf.make_ndarray(answer.outputs["score"]).tolist() == [[3.0]], answer
wanted = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
wanted.model_spec.name = "scores"
definitions = get_model_metadata_pb2.SignatureDefMap()
assert stub.GetModelMetadata(wanted, 30).metadata["signature_def"].Unpack(definitions)
assert definitions.signature_def["serving_default"].inputs["ids"].dtype == tf.int64.as_datatype_enum
status = get_model_status_pb2.GetModelStatusRequest()
status.model_spec.name = "scores"
states = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(status, 30)
assert states.model_version_status[0].state == 30
"""


@pytest.mark.needs("tensorflow-serving")
def test_the_client_of_tensorflow_serving_works_unchanged(server: Server) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, server.grpc],
        env=TENSORFLOW_SERVING.environment(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_swapping_under_load_fails_no_request(server: Server, zoo: Path, versions: Path) -> None:
    failures: list[Any] = []
    seen: list[float] = []
    stopping = threading.Event()

    def load_it() -> None:
        connection = http.client.HTTPConnection(server.url.split("/")[2], timeout=60)
        while not stopping.is_set():
            connection.request("POST", "/v1/models/scores:predict", json.dumps({"instances": [record()]}))
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                failures.append(text)
            else:
                seen.append(json.loads(text)["predictions"][0]["score"][0])
        connection.close()

    clients = [threading.Thread(target=load_it) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        for number in (2, 3):
            write(zoo, versions / f".{number}", float(number))
            (versions / f".{number}").rename(versions / str(number))
            wait_for_version(server, number)
        (versions / "4").mkdir()
        (versions / "4" / "trained_model.pb").write_bytes(b"\xff")  # the present version stays
        time.sleep(1.5)
    finally:
        stopping.set()
        for client in clients:
            client.join()
    assert not failures
    assert set(seen) <= {1.0, 2.0, 3.0}
    assert sorted(seen) == seen or len(set(seen)) > 1
    assert ask(f"{server.url}:predict", {"instances": [record()]})[1]["predictions"][0]["score"] == [3.0]
    assert "versions_failed_total 1" in ask(server.url.partition("/v1")[0] + "/metrics")[1]


def wait_for_version(server: Server, number: int) -> None:
    until = time.monotonic() + 120
    while ask(server.url)[1]["model_version_status"][0]["version"] != str(number):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_token_is_required_where_there_is_one_and_mistakes_are_told(zoo: Path, tmp_path: Path) -> None:
    write(zoo, tmp_path / "model", 1.0)
    with elasticdl_nb.serve(tmp_path / "model", token=TOKEN) as running:
        body = {"instances": [record()]}
        assert ask(f"{running.url}:predict", body)[0] == 401
        assert ask(f"{running.url}:predict", body, {"Authorization": f"Bearer {TOKEN}"})[0] == 200
        request = predict_request(0.0)
        request.model_spec.name = "model"
        with pytest.raises(grpc.RpcError) as raised:
            call(running.grpc, "PredictionService/Predict", request, pb.PredictResponse)
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        call(running.grpc, "PredictionService/Predict", request, pb.PredictResponse, TOKEN)
    with pytest.raises(OptionError, match=r"trained_model: .* is no trained model"):
        elasticdl_nb.serve(tmp_path)

"""A SavedModel behind TensorFlow Serving's gRPC and REST interfaces, on the loopback address.

For tests and measurements without the server's binary: the official messages and stubs, with an
implementation in Python. It does not replace the server.

    python benchmarks/loopback_server.py --folder exports/compact/1 --name compact
"""

import argparse
import base64
import json
import re
from collections.abc import Callable
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

LOOPBACK = "127.0.0.1"
_THREADS = 16
_PATH = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict")


class Unknown(Exception):
    """No such model, version, label or signature."""


class Model:
    """One version of a SavedModel under a name and, if given, a label.

    Args:
        folder: `<model>/<version>`.
        name: name of the model on the server.
        label: label of the version, or None.
    """

    def __init__(self, folder: Path, name: str, label: str | None = None):
        self.loaded = tf.saved_model.load(str(folder))
        self.name, self.version, self.label = name, int(Path(folder).name), label

    def signature(self, name: str, version: int | None, label: str | None, signature: str):
        """Returns a signature as a server would choose it.

        Raises:
            Unknown: there is no such.
        """
        if name != self.name or version not in (None, self.version):
            raise Unknown(f"Servable not found for request: Specific({name}, {version})")
        if label not in (None, self.label):
            raise Unknown(f"Unrecognized servable version label: {label}")
        if signature not in self.loaded.signatures:
            raise Unknown(f'Serving signature name: "{signature}" not found in signature def')
        return self.loaded.signatures[signature]


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Implements Predict of the official service.

    Args:
        model: the model.
        before: function that is called with each request; may raise through its context, for
            tests.
    """

    def __init__(self, model: Model, before: Callable | None = None):
        self.model, self.before = model, before

    def Predict(self, request, context):
        """Returns a PredictResponse."""
        if self.before is not None:
            self.before(request, context)
        spec = request.model_spec
        try:
            signature = self.model.signature(
                spec.name,
                spec.version.value if spec.HasField("version") else None,
                spec.version_label or None,
                spec.signature_name or "serving_default",
            )
            inputs = {name: tf.make_ndarray(one) for name, one in request.inputs.items()}
            outputs = _call(signature, inputs)
        except Unknown as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except (tf.errors.InvalidArgumentError, TypeError, ValueError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = self.model.name
        response.model_spec.version.value = self.model.version
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


def _call(signature, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    specs = signature.structured_input_signature[1]
    if set(inputs) != set(specs):
        raise ValueError(f"input size does not match signature: {sorted(inputs)}")
    tensors = {name: tf.constant(inputs[name], spec.dtype) for name, spec in specs.items()}
    return {name: value.numpy() for name, value in signature(**tensors).items()}


def _rest_handler(model: Model, before: Callable | None):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer = (before(body) if before else None) or self._answer(body)
            # As the server, with NaN for what is no number.
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _answer(self, body: bytes):
            found = _PATH.fullmatch(self.path)
            if found is None:
                return 404, {"error": f"Malformed request: POST {self.path}"}
            version = None if found[2] is None else int(found[2])
            try:
                asked = json.loads(body)
                name = asked.get("signature_name", "serving_default")
                signature = model.signature(found[1], version, found[3], name)
                columns = {
                    key: np.array([_plain(row[key]) for row in asked["instances"]])
                    for key in asked["instances"][0]
                }
                outputs = _call(signature, columns)
            except Unknown as error:
                return 404, {"error": str(error)}
            except (tf.errors.InvalidArgumentError, KeyError, TypeError, ValueError) as error:
                return 400, {"error": str(error)}
            count = len(asked["instances"])
            return 200, {
                "predictions": [
                    {name: _json(name, value[row]) for name, value in outputs.items()}
                    for row in range(count)
                ]
            }

        def log_message(self, *_):
            """Writes no log."""

    return Handler


def _plain(value):
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def _json(name, value):
    if isinstance(value, bytes):
        as_base64 = {"b64": base64.b64encode(value).decode()}
        return as_base64 if name.endswith("_bytes") else value.decode()
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def start(
    model: Model, before_grpc: Callable | None = None, before_rest: Callable | None = None
) -> tuple[int, int, Callable[[], None]]:
    """Serves a model from threads of this process.

    Args:
        model: the model.
        before_grpc: function that is called with each request and its context.
        before_rest: function that is called with each body; may return a status and a response.

    Returns:
        The ports of gRPC and REST, and a function that stops both.
    """
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(_THREADS), options=options)
    service = PredictionService(model, before_grpc)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    rest = ThreadingHTTPServer((LOOPBACK, 0), _rest_handler(model, before_rest))
    Thread(target=rest.serve_forever, daemon=True).start()

    def stop():
        server.stop(0).wait()
        rest.shutdown()
        rest.server_close()

    return port, rest.server_port, stop


def main() -> None:
    """Serves until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--label")
    options = parser.parse_args()
    grpc_port, rest_port, stop = start(Model(options.folder, options.name, options.label))
    print(json.dumps({"grpc": grpc_port, "rest": rest_port}), flush=True)
    input()
    stop()


if __name__ == "__main__":
    main()

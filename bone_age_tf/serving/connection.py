"""Requests to TensorFlow Serving over gRPC or REST, without TensorFlow."""

import base64
import contextlib
import http.client
import json
import random
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from bone_age_tf import schema
from bone_age_tf.errors import InputError, ServerError
from bone_age_tf.serving.messages import PREDICT_METHOD, predict_request, read_response

DEFAULT_TIMEOUT_S = 30.0
ATTEMPTS = 4
"""Maximum number of attempts of a request, including the first."""
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 2.0
_TRANSIENT_HTTP = (429, 502, 503, 504)
"""HTTP statuses after which a request is repeated: too many requests, or server not ready."""

_ADDRESS = re.compile(
    r"(?P<scheme>grpcs?|https?)://(?P<host>[^/]+)(/v1/models)?/(?P<model>[^/:]+)"
    r"(/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?/?"
)


@dataclass(frozen=True)
class Address:
    """Address of a served model.

    Attributes:
        scheme: grpc, grpcs, http or https.
        host: name and port.
        model: name of the model on the server.
        version: number of the version; None for the server's default.
        label: label of a version, such as canary, or None.
    """

    scheme: str
    host: str
    model: str
    version: int | None = None
    label: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parses an address.

        Raises:
            InputError: the text is not an address; the message shows the syntax.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise InputError(
                f"--server={text}: write grpc://HOST:PORT/MODEL or http://HOST:PORT/MODEL, "
                "optionally followed by /versions/N or /labels/NAME"
            )
        version = match["version"]
        return cls(
            match["scheme"],
            match["host"],
            match["model"],
            None if version is None else int(version),
            match["label"],
        )

    def __str__(self) -> str:
        chosen = "" if self.version is None else f"/versions/{self.version}"
        chosen = chosen if self.label is None else f"/labels/{self.label}"
        return f"{self.scheme}://{self.host}/{self.model}{chosen}"


class Server(Protocol):
    """A connection to a server over gRPC or REST. For use from several threads."""

    def predict(self, data: bytes, sexes: list[int]) -> dict[str, np.ndarray]:
        """Returns the outputs for a file with each of the given sexes along the first axis.

        Raises:
            ServerError: there is no usable response.
        """


def connect(address: Address, timeout_s: float = DEFAULT_TIMEOUT_S) -> Server:
    """Returns a connection to the server at an address; nothing is sent yet."""
    kind = GrpcServer if address.scheme.startswith("grpc") else RestServer
    return kind(address, timeout_s)


class GrpcServer:
    """Connection over gRPC, which repeats requests if the server is unavailable."""

    def __init__(self, address: Address, timeout_s: float):
        import grpc  # imported only when needed, since the import takes time

        self._address, self._timeout_s = address, timeout_s
        self._codes, self._error = grpc.StatusCode, grpc.RpcError
        retries = {
            "maxAttempts": ATTEMPTS,
            "initialBackoff": f"{_FIRST_PAUSE_S}s",
            "maxBackoff": f"{_LONGEST_PAUSE_S}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        service = {"service": PREDICT_METHOD.split("/")[1]}
        policy = {"methodConfig": [{"name": [service], "retryPolicy": retries}]}
        options = [
            ("grpc.enable_retries", 1),
            ("grpc.service_config", json.dumps(policy)),
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
        ]
        if address.scheme == "grpcs":
            credentials = grpc.ssl_channel_credentials()
            self._channel = grpc.secure_channel(address.host, credentials, options)
        else:
            self._channel = grpc.insecure_channel(address.host, options)
        self._predict = self._channel.unary_unary(
            PREDICT_METHOD,
            request_serializer=lambda request: request.SerializeToString(),
            response_deserializer=bytes,
        )

    def predict(self, data: bytes, sexes: list[int]) -> dict[str, np.ndarray]:
        """See `Server`."""
        address = self._address
        inputs = {
            schema.IMAGE_BYTES: np.array([data] * len(sexes), object),
            schema.SEX: np.array([[sex] for sex in sexes], np.float32),
        }
        request = predict_request(
            address.model, inputs, schema.SERVING_SIGNATURE, address.version, address.label
        )
        try:
            return read_response(self._predict(request, timeout=self._timeout_s))
        except self._error as error:
            raise self._server_error(error) from None
        except ValueError as error:
            raise ServerError(f"{address}: {error}", lasting=True) from None

    def _server_error(self, error: Any) -> ServerError:
        code, details = error.code(), error.details()
        if code == self._codes.UNAVAILABLE:
            return _unreachable(self._address, details)
        if code == self._codes.DEADLINE_EXCEEDED:
            return _too_slow(self._address, self._timeout_s)
        if code == self._codes.NOT_FOUND:
            return _not_found(self._address, details)
        if code == self._codes.UNIMPLEMENTED:
            return ServerError(
                f"{self._address}: no TensorFlow Serving ({details}); KServe's own gRPC is another "
                "protocol: use its http:// address",
                lasting=True,
            )
        lasting = code in (self._codes.UNAUTHENTICATED, self._codes.PERMISSION_DENIED)
        return ServerError(f"{self._address}: {code.name}: {details}", lasting)


class RestServer:
    """Connection over TensorFlow Serving's REST API, which is also KServe's V1 protocol."""

    def __init__(self, address: Address, timeout_s: float):
        self._address, self._timeout_s = address, timeout_s
        chosen = "" if address.version is None else f"/versions/{address.version}"
        chosen = chosen if address.label is None else f"/labels/{address.label}"
        self._url = f"{address.scheme}://{address.host}/v1/models/{address.model}{chosen}:predict"

    def predict(self, data: bytes, sexes: list[int]) -> dict[str, np.ndarray]:
        """See `Server`."""
        encoded = {"b64": base64.b64encode(data).decode()}
        instances = [{schema.IMAGE_BYTES: encoded, schema.SEX: [float(sex)]} for sex in sexes]
        body = {"signature_name": schema.SERVING_SIGNATURE, "instances": instances}
        response = self._post(json.dumps(body).encode())
        try:
            rows = json.loads(response)["predictions"]
            return {name: _array([row[name] for row in rows]) for name in rows[0]}
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"{self._url}: not a response of TensorFlow Serving "
                f"({type(error).__name__}: {error})",
                lasting=True,
            ) from None

    def _post(self, body: bytes) -> bytes:
        """Posts until there is a response, or the attempts or the time are used up."""
        # urllib3's Retry is not used: it counts attempts but does not limit their total time, as
        # --timeout_s does, and it would be another dependency.
        end = time.monotonic() + self._timeout_s
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers)
        for attempt in range(1, ATTEMPTS + 1):
            left = end - time.monotonic()
            if left <= 0:
                break
            try:
                with urllib.request.urlopen(request, timeout=left) as response:
                    return response.read()
            except urllib.error.HTTPError as error:
                failure, again = self._server_error(error), error.code in _TRANSIENT_HTTP
            except TimeoutError:
                break
            except (OSError, http.client.HTTPException) as error:
                if isinstance(getattr(error, "reason", None), TimeoutError):
                    break
                failure = _unreachable(self._address, getattr(error, "reason", error))
                again = True
            if not again or attempt == ATTEMPTS:
                raise failure
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
            time.sleep(min(pause * random.uniform(0.8, 1.2), max(0.0, end - time.monotonic())))
        raise _too_slow(self._address, self._timeout_s)

    def _server_error(self, error: urllib.error.HTTPError) -> ServerError:
        details = error.reason
        with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
            details = json.loads(error.read())["error"]
        if error.code == 404:
            return _not_found(self._address, details)
        if error.code in _TRANSIENT_HTTP:
            return _unreachable(self._address, f"HTTP {error.code}: {details}")
        return ServerError(
            f"{self._address}: HTTP {error.code}: {details}", error.code in (401, 403, 405)
        )


def _array(values: list) -> np.ndarray:
    """Converts numbers to float32 or int, and texts to objects of bytes."""
    if isinstance(values[0], str):
        return np.array([value.encode() for value in values], object)
    array = np.array(values)
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _unreachable(address: Address, details: object) -> ServerError:
    port = "gRPC (TensorFlow Serving's is 8500)" if "grpc" in address.scheme else "REST (8501)"
    return ServerError(
        f"{address}: cannot be reached ({details}); is the server up, and is this its port for "
        f"{port}?",
        lasting=True,
    )


def _not_found(address: Address, details: object) -> ServerError:
    return ServerError(
        f"{address}: the server has no such model, version or label ({details}); "
        "models.config lists the served models",
        lasting=True,
    )


def _too_slow(address: Address, timeout_s: float) -> ServerError:
    return ServerError(
        f"{address}: no response within {timeout_s:g} s; a larger --timeout_s waits longer",
        lasting=False,
    )

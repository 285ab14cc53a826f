"""What a server and its clients rely on, without the server's binary."""

import csv
import importlib.util
import json
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from made_films import encode
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from bone_age_tf import cli
from bone_age_tf.errors import ServerError
from bone_age_tf.export import warm_up
from bone_age_tf.serving import messages
from bone_age_tf.serving.connection import Address, connect
from command_words import predict

OUTPUTS = {
    "age_months",
    "distribution",
    "interval_90_months",
    "unfamiliarity",
    "status",
    "reason",
    "reason_code",
}


@pytest.fixture(scope="module")
def loopback(root):
    spec = importlib.util.spec_from_file_location(
        "loopback_server", root / "benchmarks" / "loopback_server.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model(loopback, served):
    return loopback.Model(served[1], "tiny", "stable")


@pytest.fixture(scope="module")
def ports(loopback, model):
    grpc_port, rest_port, stop = loopback.start(model)
    yield {"grpc": grpc_port, "http": rest_port}
    stop()


def start(loopback, model, **faults):
    grpc_port, rest_port, stop = loopback.start(model, **faults)
    return {"grpc": grpc_port, "http": rest_port}, stop


@pytest.fixture(scope="module")
def cases(drawn, tmp_path_factory):
    """A table of films of every fate."""
    folder = tmp_path_factory.mktemp("cases")
    files = {
        "hand.png": encode(drawn[2]),
        "mirrored.jpg": encode(np.ascontiguousarray(drawn[1][:, ::-1]), "JPEG", quality=95),
        "both.png": encode(drawn[0]),
        "half.png": encode(drawn[2][:70]),
        "damaged.png": encode(drawn[2])[:-900],
        "empty.png": b"",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = ["hand.png,female,140", "mirrored.jpg,m,80", "both.png,,", "half.png,f,"]
    rows += ["damaged.png,f,", "empty.png,m,", "missing.png,m,", "hand.png,unknown,"]
    (folder / "cases.csv").write_text("image,sex,age_months\n" + "\n".join(rows) + "\n")
    return folder / "cases.csv"


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_our_messages_are_the_official_ones():
    inputs = {
        "image_bytes": np.array([b"one", b"\xff\0two"], object),
        "sex": np.array([[0.0], [1.0]], np.float32),
        "count": np.array([3], np.int64),
    }
    ours = messages.predict_request("tiny", inputs, "tensors", version=7)
    official = predict_pb2.PredictRequest.FromString(ours.SerializeToString())
    assert (official.model_spec.name, official.model_spec.version.value) == ("tiny", 7)
    assert official.model_spec.signature_name == "tensors"
    assert set(official.inputs) == set(inputs)
    for name, values in inputs.items():
        found = tf.make_ndarray(official.inputs[name])
        assert found.tolist() == values.tolist()
    labelled = messages.predict_request("tiny", {}, label="canary").SerializeToString()
    assert predict_pb2.PredictRequest.FromString(labelled).model_spec.version_label == "canary"


def test_official_responses_are_read():
    expected = {
        "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
        "texts": np.array([b"ok", b"error"], object),
        "codes": np.array([0, 22], np.int32),
        "alike": np.full((4, 1), 2.5, np.float32),
    }
    response = predict_pb2.PredictResponse()
    for name, values in expected.items():
        response.outputs[name].CopyFrom(tf.make_tensor_proto(values))
    # One value for all that are alike, as servers may send it.
    response.outputs["alike"].ClearField("tensor_content")
    del response.outputs["alike"].float_val[1:]
    if not response.outputs["alike"].float_val:
        response.outputs["alike"].float_val.append(2.5)
    found = messages.read_response(response.SerializeToString())
    assert {name: values.tolist() for name, values in found.items()} == {
        name: values.tolist() for name, values in expected.items()
    }
    with pytest.raises(ValueError, match="not a PredictResponse"):
        messages.read_response(b"\xff\xff\xff")


def test_official_stubs_get_an_answer(ports, drawn):
    with grpc.insecure_channel(f"127.0.0.1:{ports['grpc']}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "tiny"
        files = [encode(drawn[0]), b"broken"]
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(files))
        request.inputs["sex"].CopyFrom(tf.make_tensor_proto([[0.0], [1.0]]))
        response = stub.Predict(request, timeout=60)
        assert set(response.outputs) == OUTPUTS
        assert tf.make_ndarray(response.outputs["status"]).tolist() == [b"ok", b"error"]
        request.model_spec.name = "other"
        with pytest.raises(grpc.RpcError) as raised:
            stub.Predict(request, timeout=60)
        assert raised.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_gives_the_table_that_local_prediction_gives(
    served, ports, cases, scheme, tmp_path, capsys
):
    local, remote = tmp_path / "local.csv", tmp_path / "remote.csv"
    address = f"{scheme}://127.0.0.1:{ports[scheme]}/tiny/labels/stable"
    assert predict(cases, None, served[0], "tiny", output=local) == 1
    assert cli.main(["predict", str(cases), f"--server={address}", f"--output={remote}"]) == 1
    assert f"Read by {address}" in capsys.readouterr().out
    expected, found = read(local), read(remote)
    assert [row["status"] for row in found].count("ok") == 4
    for here, there in zip(expected, found, strict=True):
        assert there["reason"] == here["reason"].partition(" (the file")[0]
        for name in ("image", "sex", "status"):
            assert there[name] == here[name]
        for name in ("bone_age_months", "lower_90", "upper_90"):
            if here[name]:
                assert float(there[name]) == pytest.approx(float(here[name]), abs=0.5)
            else:
                assert there[name] == ""


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_transient_faults_are_tried_again_and_others_are_not(loopback, model, drawn, scheme):
    calls = []

    def busy_twice(_, context=None):
        calls.append(time.monotonic())
        if len(calls) <= 2:
            if context is None:
                return 503, {"error": "not yet"}
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return None

    def refuses(_, context=None):
        calls.append(time.monotonic())
        if context is None:
            return 400, {"error": "no such input"}
        return context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such input")

    for fault, tries in ((busy_twice, 3), (refuses, 1)):
        calls.clear()
        ports, stop = start(loopback, model, before_grpc=fault, before_rest=fault)
        server = connect(Address(scheme, f"127.0.0.1:{ports[scheme]}", "tiny"))
        try:
            if fault is busy_twice:
                assert server.predict(encode(drawn[0]), [0, 1])["status"].tolist() == [b"ok"] * 2
            else:
                with pytest.raises(ServerError, match="no such input"):
                    server.predict(encode(drawn[0]), [0])
        finally:
            stop()
        assert len(calls) == tries


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_no_answer_in_time_is_told(loopback, model, cases, scheme, tmp_path, capsys):
    waiting = threading.Event()

    def slow(*_):
        waiting.wait(5)

    ports, stop = start(loopback, model, before_grpc=slow, before_rest=slow)
    try:
        output = tmp_path / "out.csv"
        address = f"{scheme}://127.0.0.1:{ports[scheme]}/tiny"
        image = cases.parent / "hand.png"
        words = ["predict", str(image), "--sex=f", f"--server={address}", f"--output={output}"]
        assert cli.main([*words, "--timeout_s=0.3"]) == 1
        assert (
            "no response within 0.3 s; a larger --timeout_s waits longer"
            in read(output)[0]["reason"]
        )
    finally:
        waiting.set()
        stop()
    capsys.readouterr()


@pytest.mark.parametrize("scheme", ["grpc", "http"])
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("other", "no such model, version or label"),
        ("tiny/versions/9", "no such model, version or label"),
        ("tiny/labels/canary", "no such model, version or label"),
    ],
)
def test_a_model_that_is_not_served_is_told(ports, cases, scheme, path, message, capsys):
    address = f"{scheme}://127.0.0.1:{ports[scheme]}/{path}"
    assert cli.main(["predict", str(cases), f"--server={address}", "--output=/dev/null"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert address in error
    assert "Traceback" not in error


@pytest.mark.parametrize("scheme", ["grpc", "http"])
def test_a_server_that_is_not_there_is_told(cases, scheme, capsys):
    assert (
        cli.main(
            ["predict", str(cases), f"--server={scheme}://127.0.0.1:9/tiny", "--output=/dev/null"]
        )
        == 2
    )
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["127.0.0.1:8500/m", "ftp://h/m", "grpc://h:1", "http://h/m/x"])
def test_an_address_that_is_none_shows_what_one_is(text):
    with pytest.raises(ValueError, match="grpc://HOST:PORT/MODEL"):
        Address.parse(text)


def test_addresses():
    assert Address.parse("http://h:1/v1/models/m/versions/3") == Address("http", "h:1", "m", 3)
    assert Address.parse("grpcs://h/m/labels/canary/").label == "canary"


def test_warm_up_holds_official_logs_of_drawn_films(served):
    requests = read_warm_up(served[1])
    assert {(name, count) for name, count, _ in requests} == {
        (name, count)
        for name in ("serving_default", "tensors", "explain")
        for count in warm_up.BATCHES
    }


def read_warm_up(folder):
    found = []
    for record in tf.data.TFRecordDataset(str(folder / warm_up.FILE)).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        found.append((request.model_spec.signature_name, len(inputs["sex"]), inputs))
    return found


# TensorFlow imports parts of Keras where it finds it. Hiding it, and this package, from the import
# system is cheaper than a virtual environment of its own, and the same to the interpreter.
WITHOUT_KERAS = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        hidden = name.partition(".")[0] in ("keras", "tf_keras", "bone_age_tf")
        return None if hidden else PathFinder.find_spec(name, path, target)

kept = [f for f in sys.meta_path if f is not PathFinder and "editable" not in str(f).lower()]
sys.meta_path[:] = [*kept, Hiding]
import json
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

loaded, statuses = tf.saved_model.load(sys.argv[1]), []
for record in tf.data.TFRecordDataset(sys.argv[2]).as_numpy_iterator():
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    signature = loaded.signatures[request.model_spec.signature_name]
    answer = signature(**{n: tf.constant(tf.make_ndarray(t)) for n, t in request.inputs.items()})
    if "status" in answer:
        statuses += [text.decode() for text in answer["status"].numpy()]
print(json.dumps([statuses, [n for n in ("keras", "bone_age_tf") if n in sys.modules]]))
"""


@pytest.mark.slow
def test_it_answers_its_warm_up_without_keras_and_without_this_package(served, tmp_path):
    folder = served[1]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_KERAS, str(folder), str(folder / warm_up.FILE)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    statuses, imported = json.loads(done.stdout.splitlines()[-1])
    assert statuses == ["ok"] * 2 * sum(warm_up.BATCHES)  # to be served and to be explained
    assert imported == []

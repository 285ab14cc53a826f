"""Measures exported forms: difference from Keras, speed, and the overhead of a server.

Ratios are measured in one run with alternating forms, so that other load on the machine affects all
forms. All traffic stays on the loopback address.

    python benchmarks/deploy.py parity --workdir=runs/NAME     # 200 held-out images, every format
    python benchmarks/deploy.py speed --torch_python=PYTHON    # ResNet50 at 256 px, one image
    python benchmarks/deploy.py server                         # gRPC, then 16 clients at once
"""

import argparse
import collections
import contextlib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from bone_age_tf import reasons

HERE = Path(__file__).parent
SIZE_PX = 256
LIMITS_MONTHS = {
    "saved_model": (0.01, 0.1),
    "litert_float32": (0.02, 0.2),
    "litert_float16": (0.05, 0.5),
    "litert_int8": (0.5, 3.0),
    "litert_uint8": (0.5, 3.0),
    "onnx": (0.02, 0.2),
}
"""Limits in months of the mean and the maximum difference from Keras."""
INTEGER_MAE_LIMIT_MONTHS = 0.1
SPEEDUP, OVERHEAD = 5.0, 0.15
TORCH = """
import sys, time, torch
from torch import nn

class Block(nn.Module):
    def __init__(self, channels, filters, stride):
        super().__init__()
        def conv(a, b, k, s=1):
            return nn.Sequential(nn.Conv2d(a, b, k, s, k // 2), nn.BatchNorm2d(b))
        self.body = nn.Sequential(conv(channels, filters, 1, stride), nn.ReLU(),
            conv(filters, filters, 3), nn.ReLU(), conv(filters, 4 * filters, 1))
        same = stride == 1 and channels == 4 * filters
        self.short = nn.Identity() if same else conv(channels, 4 * filters, 1, stride)
    def forward(self, x):
        return torch.relu(self.body(x) + self.short(x))

layers = [nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
channels = 64
for filters, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
    for place in range(blocks):
        layers.append(Block(channels, filters, 2 if place == 0 and filters > 64 else 1))
        channels = 4 * filters
model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 120)).eval()
torch.set_num_threads(int(sys.argv[1]))
image = torch.zeros(1, 3, int(sys.argv[2]), int(sys.argv[2]))
with torch.inference_mode():
    model(image)
    for _ in sys.stdin:
        start = time.perf_counter()
        model(image)
        print(time.perf_counter() - start, flush=True)
"""
"""ResNet50 in PyTorch with the layers of Keras; prints the time of a call for each input line."""


def check(name: str, good: bool, text: str) -> bool:
    """Prints a figure and whether it is within its limit."""
    print(f"{'ok  ' if good else 'MISS'}  {name}: {text}", flush=True)
    return good


def measure_parity(workdir: Path, exports_dir: Path) -> None:
    """Exports a run in every format to a temporary folder, and compares the forms."""
    from bone_age_tf.export.formats import FORMATS
    from bone_age_tf.export.publish import versions
    from bone_age_tf.runs import open_run

    formats = list(FORMATS)
    if importlib.util.find_spec("tf2onnx") is None:
        formats.remove("onnx")
    with tempfile.TemporaryDirectory() as temporary:
        check_folder = versions(exports_dir / "film_check")
        if check_folder:
            (Path(temporary) / "film_check").symlink_to((exports_dir / "film_check").resolve())
        run = open_run(workdir, exports_dir=Path(temporary))
        found = run.export(formats)["parity"]
    for name, (mean, most) in LIMITS_MONTHS.items():
        if name in found:
            row = found[name]
            good = row["mean_months"] <= mean and row["max_months"] <= most
            text = f"mean {row['mean_months']:.4f} (at most {mean}), max {row['max_months']:.3f} "
            check(f"parity of {name}, n = {found['n']}", good, f"{text}(at most {most}) months")
    for form in ("litert_int8", "litert_uint8"):
        more = found[form]["mae_months"] - found["litert_float32"]["mae_months"]
        text = f"{more:+.3f} months against float32 (at most {INTEGER_MAE_LIMIT_MONTHS})"
        check(f"MAE of {form}", more <= INTEGER_MAE_LIMIT_MONTHS, text)


def write_resnet50(folder: Path, formats: tuple[str, ...]) -> Path:
    """Exports an untrained ResNet50 at 256 px, since time does not depend on the weights."""
    import keras

    from bone_age_tf import config as configs
    from bone_age_tf.export import parity, publish
    from bone_age_tf.images import reading
    from bone_age_tf.models.build import build_model
    from bone_age_tf.prepare import draw_radiographs
    from bone_age_tf.quality.publish import load_quality_check

    config = configs.load_config("resnet50", "hand_phantom")
    with config.unlocked():
        config.image_size_px = SIZE_PX
    keras.utils.set_random_seed(0)
    files = draw_radiographs([36.0, 84.0, 132.0, 180.0, 216.0], SIZE_PX)
    cases = [
        parity.Case(file, reading.read_radiograph(file)[..., None], place % 2, 100.0)
        for place, file in enumerate(files)
    ]
    check_network = load_quality_check(HERE.parent / "exports")
    return publish.publish(
        build_model(config),
        config,
        cases,
        cases,
        {},
        folder,
        quality_check=check_network,
        radiographs=files[:4],
        formats=formats,
    )[0]


def by_turns(calls: dict[str, Callable[[], float | None]], rounds: int) -> dict[str, np.ndarray]:
    """Times alternating calls; a call that returns seconds has measured its time itself."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            own = call()
            seconds[name].append(time.perf_counter() - start if own is None else own)
    return {name: np.array(found) for name, found in seconds.items()}


def measure_speed(rounds: int, threads: int, torch_python: str | None) -> None:
    """Times one image through ResNet50 at 256 px in every runtime."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    with_onnx = importlib.util.find_spec("onnxruntime") is not None
    formats = ("float32", "int8", *(("onnx",) if with_onnx else ()))
    image = np.random.default_rng(0).uniform(0, 255, (1, SIZE_PX, SIZE_PX, 1)).astype(np.float32)
    sex = np.zeros((1, 1), np.float32)
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = write_resnet50(Path(temporary), formats)
        loaded = tf.saved_model.load(str(folder))
        tensors = loaded.signatures["tensors"]
        calls: dict[str, Callable[[], float | None]] = {}
        calls["SavedModel"] = lambda: _ignore(
            tensors(image=tf.constant(image), sex=tf.constant(sex))
        )
        for form in ("float32", "int8"):
            path = str(folder / f"model_{form}.tflite")
            run = Interpreter(path, num_threads=threads).get_signature_runner()
            calls[f"LiteRT {form}"] = functools.partial(_answer, run, image, sex)
        if with_onnx:
            calls["ONNX Runtime"] = _onnx_call(folder / "model.onnx", threads, image, sex)
        if torch_python:
            calls["PyTorch eager"] = stack.enter_context(_torch_call(torch_python, threads))
        found = by_turns(calls, rounds)
    base = found["SavedModel"]
    print(f"ResNet50, {SIZE_PX} px, one image, {threads} threads, {rounds} rounds by turns")
    print(f"{'':16}{'median ms':>10}{'best ms':>10}{'times as fast':>15}{'by the best':>13}")
    for name, seconds in found.items():
        ratio, best = np.median(base) / np.median(seconds), base.min() / seconds.min()
        print(
            f"{name:16}{1e3 * np.median(seconds):10.1f}{1e3 * seconds.min():10.1f}"
            f"{ratio:15.2f}{best:13.2f}"
        )
    ratio = float(np.median(base) / np.median(found["LiteRT int8"]))
    text = f"{ratio:.2f} times as fast as the SavedModel (at least {SPEEDUP})"
    check("full-integer LiteRT", ratio >= SPEEDUP, text)


def _ignore(_) -> None:
    return None


def _answer(runner: Callable[..., object], image: np.ndarray, sex: np.ndarray) -> None:
    runner(image=image, sex=sex)


def _onnx_call(path: Path, threads: int, image: np.ndarray, sex: np.ndarray):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: _ignore(session.run(None, {"image": image, "sex": sex}))


@contextlib.contextmanager
def _torch_call(python: str, threads: int) -> Iterator[Callable[[], float]]:
    command = [python, "-c", TORCH, str(threads), str(SIZE_PX)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        sent, received = process.stdin, process.stdout
        assert sent and received

        def call() -> float:
            sent.write("\n")
            sent.flush()
            return float(received.readline())

        yield call
        sent.close()


@contextlib.contextmanager
def loopback(folder: Path, name: str) -> Iterator[dict[str, int]]:
    """Serves a SavedModel from a separate process; yields its ports."""
    command = [sys.executable, str(HERE / "loopback_server.py")]
    command += [f"--folder={folder}", f"--name={name}"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        yield json.loads(process.stdout.readline())
        process.stdin.write("\n")
        process.stdin.close()


def measure_server(rounds: int, requests: int, clients: int) -> None:
    """Measures the overhead of a server, and then its load with many clients."""
    import tensorflow as tf

    from bone_age_tf.prepare import draw_radiographs
    from bone_age_tf.serving.connection import Address, connect

    files = draw_radiographs([36.0, 84.0, 132.0, 180.0], SIZE_PX)
    image = np.random.default_rng(0).uniform(0, 255, (1, SIZE_PX, SIZE_PX, 1)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_resnet50(Path(temporary), ("float32",))
        loaded = tf.saved_model.load(str(folder))
        tensors, from_bytes = (loaded.signatures[name] for name in ("tensors", "serving_default"))
        with loopback(folder, "resnet50") as ports:
            address = Address("grpc", f"127.0.0.1:{ports['grpc']}", "resnet50")
            server = connect(address, timeout_s=600)
            sex = tf.zeros((1, 1))
            found = by_turns(
                {
                    "pixels, the model alone": lambda: _ignore(
                        tensors(image=tf.constant(image), sex=sex)
                    ),
                    "bytes, the SavedModel": lambda: _ignore(
                        from_bytes(image_bytes=tf.constant(files[:1]), sex=sex)
                    ),
                    "bytes over gRPC": lambda: _ignore(server.predict(files[0], [0])),
                },
                rounds,
            )
            base = np.median(found["pixels, the model alone"])
            print(f"ResNet50, {SIZE_PX} px, one film, {rounds} rounds by turns")
            for name, seconds in found.items():
                more = np.median(seconds) / base - 1
                print(f"{name:26}{1e3 * np.median(seconds):8.1f} ms{more:+8.1%}")
            more = float(np.median(found["bytes over gRPC"]) / base - 1)
            text = f"{more:+.1%} over the model alone (at most {OVERHEAD:+.0%})"
            check("from bytes to answer over gRPC", more <= OVERHEAD, text)
            measure_load(server, files, requests, clients)


def measure_load(server, files: list[bytes], requests: int, clients: int) -> None:
    """Measures requests of many clients; one in ten files is damaged, in one of four ways."""
    broken = [files[0][: len(files[0]) // 2], b"", b"no image", files[1][:40]]

    def send_request(place: int) -> tuple[str, bool]:
        is_broken = place % 10 == 0
        data = broken[place // 10 % 4] if is_broken else files[place % len(files)]
        response = server.predict(data, [place % 2])
        status = response[reasons.STATUS][0].decode()
        return status, is_broken

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        found = list(pool.map(send_request, range(requests)))
    seconds = time.perf_counter() - start
    counts = collections.Counter(found)
    wrong = counts[reasons.ERROR, False] + sum(
        count for (status, was), count in counts.items() if was and status != reasons.ERROR
    )
    text = f"{len(found)} answered in {seconds:.0f} s ({requests / seconds:.1f} a second), "
    text += f"{sum(was for _, was in found)} broken, {wrong} with a wrong status"
    check(f"{requests} requests from {clients} clients", len(found) == requests and not wrong, text)


def main() -> None:
    """Runs one measurement."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("parity", "speed", "server"))
    parser.add_argument("--workdir", type=Path, help="parity: a finished run")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--torch_python", help="speed: a Python that has PyTorch")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=16)
    options = parser.parse_args()
    if options.what == "parity":
        if options.workdir is None:
            parser.error("parity needs --workdir=runs/NAME")
        measure_parity(options.workdir, options.exports_dir)
    elif options.what == "speed":
        measure_speed(options.rounds, options.threads, options.torch_python)
    else:
        measure_server(options.rounds, options.requests, options.clients)


if __name__ == "__main__":
    main()

"""Beam's runners read an archive as one process does, also when workers die."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that
from made_archive import encoded, hand, write_archive

from bone_age_tf.errors import EngineError
from bone_age_tf.scale import local, parts, supervision
from bone_age_tf.scale.beam import RadiographHandler
from bone_age_tf.scale.items import list_items
from bone_age_tf.scale.scoring import Settings, score_item

HERE = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


@pytest.fixture(scope="module")
def settings(exports):
    return Settings("bins", str(exports), quality_check=False)


@pytest.fixture(scope="module")
def divided(settings, tmp_path_factory):
    """Parts of an archive, and the folder of what one process writes."""
    folder = tmp_path_factory.mktemp("archive")
    items = list_items(str(write_archive(folder / "films")))
    divided = parts.make_parts(items, 4)
    whole = parts.Output(str(folder / "whole"))
    local.run(divided, settings, whole)
    return divided, whole


def assert_same(whole, output):
    names = sorted(path.name for path in Path(whole.folder).glob("part-*"))
    for name in names:
        assert (Path(output.folder) / name).read_bytes() == (Path(whole.folder) / name).read_bytes()


def test_run_inference_takes_items_and_bytes(settings, divided):
    items = list(divided[0][0].items)
    data = encoded(hand(3))
    expected = [score_item(item, settings)["bone_age_months"] for item in items]

    def same(rows):
        ages = {row["row"]: row["bone_age_months"] for row in rows}
        assert [ages[item.place] for item in items[:3]] == expected[:3]
        assert ages[3] == expected[3]

    elements = [*items[:3], (items[3], data)]
    with TestPipeline(runner="BundleBasedDirectRunner") as pipeline:
        read = pipeline | beam.Create(elements) | RunInference(RadiographHandler(settings))
        assert_that(read, same)


def test_a_lost_worker_loses_nothing(settings, divided, tmp_path):
    output = parts.Output(str(tmp_path / "out"))
    output_folder = Path(output.folder)
    output_folder.mkdir()
    killed = []

    def kill_a_worker():
        while not killed and not (output_folder / "part-000005.parquet").exists():
            mine = workers_of(os.getpid())
            if mine:
                os.kill(mine[-1], signal.SIGKILL)
                killed.append(mine[-1])
            time.sleep(0.1)

    thread = threading.Thread(target=kill_a_worker)
    thread.start()
    supervision.run_until_complete(divided[0], settings, output, HERE, "DirectRunner")
    thread.join()
    assert killed
    assert_same(divided[1], output)


def workers_of(ancestor):
    """Beam's worker processes that descend from a process."""
    parents, workers = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text().split("\0")
        except OSError:  # it has ended
            continue
        parents[int(folder.name)] = int(status[1])
        if "apache_beam.runners.worker.sdk_worker_main" in command:
            workers.append(int(folder.name))

    def is_below(process):
        while process > 1 and process != ancestor:
            process = parents.get(process, 0)
        return process == ancestor

    return [worker for worker in workers if is_below(worker)]


@pytest.fixture
def job_service():
    """The address of Beam's own job service, without Java."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    module = "apache_beam.runners.portability.local_job_service_main"
    process = subprocess.Popen(
        [sys.executable, "-m", module, f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait()


def test_a_job_service_reads_with_workers_here(settings, divided, tmp_path, job_service):
    output = parts.Output(str(tmp_path / "out"))
    options = [
        f"--job_endpoint={job_service}",
        "--environment_type=LOOPBACK",
        "--sdk_worker_parallelism=2",
    ]
    supervision.run_until_complete(divided[0], settings, output, options, "PortableRunner")
    assert_same(divided[1], output)


def test_a_pipeline_that_always_fails_names_its_log(divided, tmp_path):
    output = parts.Output(str(tmp_path))
    nothing = Settings("no_such_model", str(tmp_path))
    with pytest.raises(EngineError, match=r"3 times .*engine\.log"):
        supervision.run_until_complete(divided[0][:1], nothing, output, [], "DirectRunner")
    assert "no_such_model" in (tmp_path / "engine.log").read_text()

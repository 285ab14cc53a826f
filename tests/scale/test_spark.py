"""A standalone Spark master with two workers reads an archive as one process does."""

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyspark
import pytest
from made_archive import write_archive

from bone_age_tf.errors import InputError
from bone_age_tf.scale import local, parts, spark
from bone_age_tf.scale.items import list_items
from bone_age_tf.scale.scoring import NAMES, Settings, score_item

pytestmark = pytest.mark.skipif(
    shutil.which("java") is None, reason="Spark needs Java: apt-get install openjdk-17-jre-headless"
)
SPARK_CLASS = Path(pyspark.__file__).parent / "bin" / "spark-class"


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """A session of a master with two workers, a core each."""
    folder = tmp_path_factory.mktemp("spark")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    master = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    here = ["--host", "127.0.0.1", "--webui-port", "0"]
    worker = [f"{deploy}.worker.Worker", *here, "--cores", "1", "--memory", "1g"]
    commands = [
        [f"{deploy}.master.Master", *here, "--port", str(port)],
        *([*worker, "--work-dir", str(folder / str(number)), master] for number in range(2)),
    ]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable, "SPARK_NO_DAEMONIZE": "1"}
    processes = []
    for command in commands:
        log = (folder / "log.txt").open("ab")
        processes.append(
            subprocess.Popen([SPARK_CLASS, *command], stdout=log, stderr=log, env=environment)
        )
        if len(processes) == 1:
            wait_for(port, folder / "log.txt")
    session = spark.open_session(master, 2)
    yield session
    session.stop()
    for process in processes[::-1]:
        process.terminate()
        process.wait()


def wait_for(port, log):
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise TimeoutError(log.read_text())


@pytest.fixture(scope="module")
def settings(exports):
    return Settings("bins", str(exports), quality_check=False)


def test_parts_have_the_same_bytes(session, settings, tmp_path):
    items = list_items(str(write_archive(tmp_path / "films")))
    divided = parts.make_parts(items, 4)
    here, there = (parts.Output(str(tmp_path / name)) for name in ("here", "there"))
    local.run(divided, settings, here)
    spark.run(session, divided, settings, there)
    assert there.finished() == set(range(6))
    for path in sorted((tmp_path / "here").glob("part-*")):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_a_data_frame_has_the_rows_of_its_files(session, settings, tmp_path):
    items = list_items(str(write_archive(tmp_path / "films", 6)))
    expected = [score_item(item, settings) for item in items]
    rows = [(item.location, ("female", "male", None)[place % 3], place)
            for place, item in enumerate(items)]  # fmt: skip
    frame = session.createDataFrame(rows, "path string, sex string, row int").repartition(2)
    read = {row["row"]: row.asDict() for row in spark.score(frame, settings).collect()}
    for place, row in enumerate(expected):
        assert read[place]["bone_age_months"] == row["bone_age_months"]
        assert read[place]["bone_age_months_if_male"] == row["bone_age_months_if_male"]
        assert list(read[place]) == list(NAMES)
    (tmp_path / "films" / "004.png").write_bytes(b"broken")
    binary = session.read.format("binaryFile").load(str(tmp_path / "films" / "*.png"))
    read = {Path(row["image"]).name: row for row in spark.score(binary, settings, "f").collect()}
    assert len(read) == 6 and read["004.png"]["status"] == "failed"
    assert read["000.png"]["bone_age_months"] == expected[0]["bone_age_months"]


def test_a_data_frame_without_files_is_refused(session, settings):
    with pytest.raises(InputError, match="none is 'path'"):
        spark.score(session.createDataFrame([(1,)], "number int"), settings)

"""Training on several devices and workers. Each worker is a process of its own.

The processes are forked from a server that has imported TensorFlow, which saves its import.
"""

import csv
import json
import multiprocessing
import socket
import time

import keras
import numpy as np
import pytest
from distributed_worker import train

from bone_age_tf import cli
from bone_age_tf.data import pipeline
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.errors import ConfigError, EngineError
from bone_age_tf.training import distribution, replicas
from bone_age_tf.training import fit as fitting

SECONDS = 240
"""Maximum time for a process."""
KILLED_AT = 4
"""Step before which a worker is killed, of 12 in two epochs."""


@pytest.fixture
def plain_config(tiny_config):
    """A config without random numbers in a step, so that trainings can be compared."""
    tiny_config.dropout = 0.0
    tiny_config.augmentation.policy = "none"
    tiny_config.learning_rate = 0.01
    return tiny_config


@pytest.fixture(scope="module")
def processes():
    """Starts processes that have imported TensorFlow."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["tensorflow", "tensorflow_datasets", "bone_age_tf.training.fit"]
    )
    return context


@pytest.fixture
def start(processes, phantoms):
    """Returns a function that starts a training in a process; ends what is still running."""
    started = []

    def start(config, folder, *arguments, **options):
        data_dir = phantoms.data_path.parents[2]
        arguments = (config.to_dict(), str(data_dir), str(folder), *arguments)
        process = processes.Process(target=train, args=arguments, kwargs=options, daemon=True)
        process.start()
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def join(*running):
    for process in running:
        process.join(SECONDS)
        assert process.exitcode == 0


def tf_config(ports, index):
    addresses = [f"127.0.0.1:{port}" for port in ports]
    return {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def check_same_training(folder, whole):
    logs = [list(csv.DictReader((run / "log.csv").open())) for run in (folder, whole)]
    assert [row["epoch"] for row in logs[0]] == ["0", "1"]
    for row, wanted in zip(*logs, strict=True):
        assert row.keys() == wanted.keys()
        for name, value in row.items():
            assert float(value) == pytest.approx(float(wanted[name]), rel=1e-4), name
    for name in ("last.keras", "best.keras"):
        ours, theirs = (
            keras.saving.load_model(run / "checkpoints" / name, compile=False).get_weights()
            for run in (folder, whole)
        )
        for first, second in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(first, second, atol=1e-4)
    records = [(run / "checkpoints" / "finished.json").read_text() for run in (folder, whole)]
    assert records[0] == records[1]


@pytest.mark.slow
def test_devices_and_workers_train_as_one_process(plain_config, phantoms, start, tmp_path):
    """Two devices; two workers, one of which is killed, and then both are started again."""
    ports, whole = free_ports(4), tmp_path / "whole"
    mirrored = start(plain_config, tmp_path / "mirrored", "mirrored")
    parts = pipeline.choose_parts(list(phantoms.info.splits), 0.1, True)
    fitting.fit(plain_config, PreparedData(phantoms, parts), whole, 0)
    join(mirrored)
    check_same_training(tmp_path / "mirrored", whole)

    chief, other = tmp_path / "chief", tmp_path / "other"
    both = [
        start(plain_config, folder, "multiworker", tf_config(ports[:2], index), 0.0, wait_from=at)
        for index, (folder, at) in enumerate(((chief, None), (other, KILLED_AT)))
    ]
    wait_for(chief / "checkpoints" / f"step-{KILLED_AT:08}.weights.h5")
    both[1].kill()
    both[0].kill()  # it would end with an error when TensorFlow misses the other one's heartbeat
    both[0].join(SECONDS)
    assert not (chief / "checkpoints" / "finished.json").exists()
    assert not (chief / "log.csv").read_text().count("\n0,")

    join(
        *(
            start(plain_config, folder, "multiworker", tf_config(ports[2:], index))
            for index, folder in enumerate((chief, other))
        )
    )
    check_same_training(chief, whole)
    assert not other.exists()  # only the chief writes


def wait_for(path):
    end = time.monotonic() + SECONDS
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_step_of_one_replica_is_the_step_of_fit(tiny_config):
    """With augmentation and dropout, since the first replica has the seed of one process."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    inputs = {
        "image": random.uniform(0, 255, (8, 32, 32, 1)).astype(np.float32),
        "sex": np.arange(8, dtype=np.float32)[:, None] % 2,
    }
    months = random.uniform(12, 216, (8, 1)).astype(np.float32)
    ends = []
    for strategy in (None, tf.distribute.OneDeviceStrategy("CPU:0")):
        keras.utils.set_random_seed(0)
        model = fitting.compiled(tiny_config, fitting.Schedule(2, 2), 0, fused_norms=False)
        targets = dict.fromkeys(model.trained_outputs, months)
        if strategy is None:
            logs = model.train_on_batch(inputs, targets, return_dict=True)
        else:
            step = replicas.make_step(model, distribution.Distribution(strategy))
            step((inputs, targets))
            logs = model.get_metrics_result()
            config = model.network.get_layer("norm1").get_config()
            assert not config["synchronized"]  # saved files stay the same
        ends.append(({name: float(value) for name, value in logs.items()}, model.get_weights()))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-5)
    for first, second in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(first, second, atol=1e-5)


class Shared:
    """A strategy of four replicas."""

    num_replicas_in_sync = 4


def test_each_worker_takes_its_rows():
    rows = [distribution.Distribution(Shared(), worker, 2).rows_here(8) for worker in range(2)]
    assert rows == [slice(0, 4), slice(4, 8)]
    with pytest.raises(ConfigError, match=r"4 devices .* batch of 10 .*--config\.batch_size=8"):
        distribution.Distribution(Shared(), 0, 2).require_divisible(10)
    with pytest.raises(ConfigError, match=r"--config\.batch_size=4"):
        distribution.Distribution(Shared(), 0, 2).require_divisible(2)


@pytest.mark.parametrize(
    ("cluster", "task", "place"),
    [
        ({"worker": ["a:1", "b:1"]}, ("worker", 0), (0, 2)),
        ({"worker": ["a:1", "b:1"]}, ("worker", 1), (1, 2)),
        ({"worker": ["a:1", "b:1"], "chief": ["c:1"]}, ("chief", 0), (0, 3)),
        ({"worker": ["a:1", "b:1"], "chief": ["c:1"]}, ("worker", 0), (1, 3)),
    ],
)
def test_the_task_is_read(cluster, task, place):
    text = json.dumps({"cluster": cluster, "task": dict(zip(("type", "index"), task, strict=True))})
    assert distribution.read_task(text) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "needs the environment variable TF_CONFIG"),
        ("{", "must look like"),
        ('{"cluster": ["a:1"], "task": {"type": "worker", "index": 0}}', "must look like"),
        ('{"cluster": {"worker": ["a:1"]}}', "must look like"),
        (json.dumps(tf_config([1, 2], 2)), "no address for the task of this machine, worker 2"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "lists ps; only workers",
        ),
    ],
)
def test_a_wrong_task_is_reported(text, message):
    with pytest.raises(ConfigError, match=message):
        distribution.read_task(text)


def test_other_distributions_and_backends_are_rejected(monkeypatch):
    assert distribution.make_distribution("none") is None
    with pytest.raises(ConfigError, match="Did you mean mirrored"):
        distribution.make_distribution("miror")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(ConfigError, match="TF_CONFIG"):
        distribution.make_distribution("multiworker")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(ConfigError, match="KERAS_BACKEND is jax"):
        distribution.make_distribution("mirrored")


def test_recipes_run_on_one_machine(capsys):
    arguments = ["--mode=recipe", "--recipe=quick_phantoms", "--distribution=multiworker"]
    assert cli.main(arguments) == 2
    assert "--distribution=mirrored, or --mode=train" in capsys.readouterr().err


def test_a_lost_worker_is_reported():
    import tensorflow as tf

    with (
        pytest.raises(EngineError, match="same command on every machine again"),
        distribution.lost_workers_reported(),
    ):
        raise tf.errors.UnavailableError(None, None, "Socket closed")

"""A training of `tiny_network` in a process of its own, for test_distribution.py."""

import json
import os
import time
from pathlib import Path


def train(settings, data_dir, folder, kind, tf_config=None, resume_seconds=240.0, wait_from=None):
    """Trains as `fit` does, with a distribution.

    Args:
        settings: the config as a dict.
        data_dir: folder of the prepared phantoms.
        folder: the run's folder.
        kind: kind of the distribution.
        tf_config: TF_CONFIG as a dict.
        resume_seconds: see `fit`.
        wait_from: step before which the process waits to be killed.
    """
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    if tf_config is not None:
        os.environ["TF_CONFIG"] = json.dumps(tf_config)
    import tensorflow as tf

    if kind == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, two)
    from bone_age_tf.training.distribution import make_distribution

    distribution = make_distribution(kind)
    from ml_collections import ConfigDict

    from bone_age_tf.data import pipeline
    from bone_age_tf.data.prepared import PreparedData
    from bone_age_tf.models.catalog import MODELS
    from bone_age_tf.prepare import prepare_dataset
    from bone_age_tf.training import fit as fitting

    MODELS["tiny"] = "tiny_network"
    builder = prepare_dataset("hand_phantom/tiny", Path(data_dir), None)
    parts = pipeline.choose_parts(list(builder.info.splits), 0.1, True)
    data = PreparedData(builder, parts)
    if wait_from is not None:
        data = _Waiting(data, wait_from)
    fitting.fit(
        ConfigDict(settings), data, Path(folder), 0, resume_seconds, distribution=distribution
    )


class _Waiting:
    """Data whose training batches stop at a step."""

    def __init__(self, data, step):
        self.data, self.step = data, step

    def __getattr__(self, name):
        return getattr(self.data, name)

    def training_batches(self, *arguments):
        for step, batch in enumerate(self.data.training_batches(*arguments)):
            if step == self.step:
                time.sleep(600)
            yield batch

import os
import sys
from pathlib import Path

import pytest

from light_exports import *  # noqa: F403  (its fixtures are of several rooms)

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    """Begins with the longest tests, so that at the end no worker waits for another one's."""
    items.sort(key=lambda item: item.path.name != "test_road.py")


@pytest.fixture(scope="session")
def root():
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def float32():
    """What a test or a command has set as the precision of a process ends with the test."""
    yield
    if "keras" in sys.modules:
        sys.modules["keras"].mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Builder of a small set of phantoms, prepared once: 48 to train, 16 and 16 to test."""
    from bone_age_tf.prepare import prepare_dataset

    return prepare_dataset("hand_phantom/tiny", tmp_path_factory.mktemp("data"), None)


@pytest.fixture
def tiny_config(monkeypatch):
    """Config of a model that trains in a second."""
    from bone_age_tf import config as configs
    from bone_age_tf.models.catalog import MODELS

    monkeypatch.setitem(MODELS, "tiny", "tiny_network")
    config = configs.base_config()
    config.model = "tiny"
    config.dataset = "hand_phantom"
    config.image_size_px = 32
    config.batch_size = 8
    config.epochs = 2
    config.dense_units = 16
    config.sex_units = 4
    config.lock()
    return config


@pytest.fixture
def eager():
    """Runs graphs as plain Python: to compile one takes longer than to run it once."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)

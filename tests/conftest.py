import contextlib
import gc
import os
import sys
from pathlib import Path

import pytest

from light_exports import *  # noqa: F403  (its fixtures are of several rooms)
from made_once import made_once

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
if "PYTEST_XDIST_WORKER" in os.environ:  # the other cores have workers of their own
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

ROOT = Path(__file__).parents[1]


def pytest_collection_modifyitems(items):
    """Begins with the longest tests and those that wait for a browser.

    So at the end no worker waits for another one's, and beside a browser there are others at work.
    """

    def place(item):
        first = item.path.name in ("test_road.py", "test_style.py")
        return 0 if first else 1 if item.path.parent.name == "web" else 2

    items.sort(key=place)
    if "tensorflow" in sys.modules:  # to optimise a graph takes longer than to run it a few times
        experimental = sys.modules["tensorflow"].config.optimizer.set_experimental_options
        experimental({"disable_meta_optimizer": True})


def pytest_collection_finish():
    """Leaves what lives on to itself: to search all the objects of graphs takes long."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


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

    def draw(folder):
        prepare_dataset("hand_phantom/tiny", folder, None)

    return prepare_dataset("hand_phantom/tiny", made_once(tmp_path_factory, "data", draw), None)


@pytest.fixture
def beside_phantoms(phantoms, tmp_path, monkeypatch):
    """An empty working directory but for the phantoms, which no command has to draw again."""
    (tmp_path / "data").symlink_to(phantoms.data_path.parents[2])
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


@contextlib.contextmanager
def _without_saved_model():
    import tensorflow as tf

    from bone_age_tf.export import parity, publish

    def write(model, config, folder, quality_check=None, detector=None):
        folder.mkdir()
        return {}

    compared = parity._compared

    def compared_if_there(name, months, *columns):
        return {} if months is None else compared(name, months, *columns)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish.saved_model, "write_saved_model", write)
        patch.setattr(tf.saved_model, "load", lambda path: None)
        patch.setattr(parity, "_maps_of", lambda *_: {})
        patch.setattr(parity, "_saved_model_months", lambda *_: (None, 0))
        patch.setattr(parity, "_compared", compared_if_there)
        yield


@pytest.fixture(scope="session")
def without_saved_model():
    """Returns a context without the SavedModel, which takes most of an export."""
    return _without_saved_model


@pytest.fixture
def no_saved_model():
    """Leaves the SavedModel out: for tests of the other files."""
    with _without_saved_model():
        yield


@pytest.fixture
def narrow_resnet50(monkeypatch):
    """Keras' ResNet50 with an eighth of its filters: of what a test builds, only the width."""
    from keras.src.applications import resnet as theirs

    from bone_age_tf.models import resnet

    def residual_blocks(x):
        for stage, blocks in enumerate((3, 4, 6, 3)):
            width, stride = 8 * 2**stage, 1 if stage == 0 else 2
            x = theirs.stack_residual_blocks_v1(x, width, blocks, stride, name=f"conv{stage + 2}")
        return x

    def build(**arguments):
        return theirs.ResNet(residual_blocks, False, True, name="resnet50", **arguments)

    monkeypatch.setitem(resnet.BOTTLENECKS, "resnet50", build)


@pytest.fixture
def eager():
    """Runs graphs as plain Python: to compile one takes longer than to run it once."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)

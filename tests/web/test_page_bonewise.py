"""A model that reads each region: the page reads it as the reader does."""

import csv
import io
import shutil

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.bundle import Bundle
from bone_age_tf.export import parity, publish
from bone_age_tf.inference.cases import Case
from bone_age_tf.models.build import build_model
from bone_age_tf.reader import Reader
from bone_age_tf.training.initial_weights import initialise
from bone_age_tf.web.build import build_page

pytestmark = pytest.mark.slow
SIZE_PX = 64


@pytest.fixture
def bundle(root, tmp_path, no_saved_model):
    """A network that has not been trained."""
    folder = tmp_path / "exports"
    for name in ("film_check", "region_detector"):
        shutil.copytree(root / "exports" / name, folder / name)
    keras.utils.set_random_seed(0)
    settings = {"image_size_px": SIZE_PX, "base_filters": 8, "resize": "frame"}
    overrides = [(name, str(value)) for name, value in settings.items()]
    config = configs.load_config("bonewise", "hand_phantom", overrides)
    network = build_model(config)
    initialise(network, config)
    image = np.random.default_rng(0).uniform(0, 255, (SIZE_PX, SIZE_PX, 1)).astype(np.float32)
    case = parity.Case(b"", image, 1, 90.0)
    exported, _ = publish.publish(network, config, [case], [case], {}, folder, formats=("float16",))
    return Bundle.open(exported)


def test_the_page_reads_it(visit, serve, modules, bundle, hands, tmp_path):
    page = build_page(bundle, tmp_path / "page", compress=False)
    with serve(page.folder) as url:
        found = visit(url)
        found.read(*hands[:4], sex="female")
        table = list(csv.DictReader(io.StringIO(found.csv().decode(), newline="")))
    results = Reader(bundle).read_table(
        [Case(one.name, one, 0) for one in hands[:4]], progress=False
    )
    assert any(result.status == "ok" for result in results)
    for row, result in zip(table, results, strict=True):
        assert (row["status"], row["reason"]) == (result.status, result.note), row
        if result.status == "ok":
            months = float(row["bone_age_months"])
            assert months == pytest.approx(result.age_months, abs=0.3), row

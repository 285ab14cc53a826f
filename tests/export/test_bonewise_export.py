"""An exported model that reads each region: the reader says which are ahead of the hand."""

import keras
import numpy as np
import pytest
from made_films import encode

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.evaluation.region_norms import fit_region_norms
from bone_age_tf.export import parity, publish
from bone_age_tf.models.build import build_model
from bone_age_tf.reader import Reader
from bone_age_tf.training.initial_weights import initialise

pytestmark = pytest.mark.slow
SIZE_PX = 64


def test_the_reader_dates_each_region(drawn, tmp_path, no_saved_model):
    keras.utils.set_random_seed(0)
    overrides = [("image_size_px", str(SIZE_PX)), ("base_filters", "8")]
    config = configs.load_config("bonewise", "hand_phantom", overrides)
    network = build_model(config)
    initialise(network, config)
    random = np.random.default_rng(0)
    usual = random.normal(100, 9, (80, len(schema.REGIONS)))
    norms = fit_region_norms(usual, np.ones_like(usual), np.arange(80) % 2)
    image = random.uniform(0, 255, (SIZE_PX, SIZE_PX, 1)).astype(np.float32)
    case = parity.Case(encode(image[..., 0].astype(np.uint8)), image, 1, 90.0)
    folder, _ = publish.publish(
        network,
        config,
        [case],
        [case],
        {"regions": norms.as_json()},
        tmp_path,
        formats=("float32",),
    )
    bundle = Bundle.open(folder)
    assert not bundle.outputs & {schema.REGION_DISTRIBUTIONS, schema.GLOBAL_DISTRIBUTION}
    result = Reader(bundle, quality_check=False).read(drawn[1].astype(np.float32), sex="male")
    regions = result.prediction.regions
    assert tuple(regions) == schema.REGIONS
    inputs = {
        schema.IMAGE: bundle.predictor().fit_image(drawn[1])[None, ..., None],
        schema.SEX: np.ones((1, 1), np.float32),
    }
    expected = np.array(network(inputs, training=False)[schema.REGION_AGES])[0]
    found = [one.age_months for one in regions.values()]
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert all(np.isfinite(one.deviations) for one in regions.values())

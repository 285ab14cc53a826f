"""Maps that need no gradient: exact, in the graph, in LiteRT too."""

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.models.build import build_model, build_served_model
from bone_age_tf.models.catalog import MODELS
from bone_age_tf.models.removal import (
    MONTHS_MAP,
    RELEVANCE,
    build_mapped_model,
    build_removal_model,
    pooled_map,
)

SIZE_PX = 64
# Of each module one: what differs within it is behind or in front of the map.
ONE_OF_A_KIND = {module: name for name, module in reversed(MODELS.items())}.values()


def model_of(name, **changes):
    keras.utils.set_random_seed(0)
    config = configs.load_config(name, "hand_phantom")
    config.update({"base_filters": 8, "image_size_px": SIZE_PX, **changes})
    return build_model(config, SIZE_PX)


def inputs(count=2):
    image = np.random.default_rng(0).uniform(0, 255, (count, SIZE_PX, SIZE_PX, 1))
    return {
        "image": image.astype(np.float32),
        "sex": np.arange(count, dtype=np.float32)[:, None] % 2,
    }


@pytest.mark.parametrize("head", ["distribution", "regression"])
def test_a_place_is_worth_what_the_age_loses_without_it(head):
    model = model_of("compact", head=head)
    found = build_removal_model(model)(inputs(), training=False)
    months, relevance = np.array(found[MONTHS_MAP]), np.array(found[RELEVANCE])
    places = np.array(keras.Model(model.input, pooled_map(model))(inputs(), training=False))
    features = model.get_layer("image_features").output
    head_model = keras.Model([features, model.input["sex"]], model.output)
    whole = head_model([places.mean(axis=(1, 2)), inputs()["sex"]], training=False)
    for y, x in ((0, 0), (2, 1)):
        without = places.copy()
        without[:, y, x] = 0
        less = head_model([without.mean(axis=(1, 2)), inputs()["sex"]], training=False)
        lost = np.array(whole["age_months"] - less["age_months"])[:, 0]
        np.testing.assert_allclose(months[:, y, x], lost, atol=2e-4)
        expected = lost**2
        if head == "distribution":
            change = np.array(whole["distribution"] - less["distribution"])
            expected = (change**2).sum(axis=1)
        np.testing.assert_allclose(relevance[:, y, x], expected, rtol=2e-2, atol=1e-9)


def test_cells_of_a_grid_lose_only_their_own_places():
    """`cnn` keeps where things are: a place changes the means of its own cells alone."""
    model = model_of("cnn", head="regression")
    found = build_removal_model(model)(inputs(), training=False)
    months = np.array(found[MONTHS_MAP])
    grid = model.get_layer("grid_means")
    features = model.get_layer("image_features").output
    behind = keras.Model([features, model.input["sex"]], model.output["age_months"])
    places = np.array(keras.Model(model.input, pooled_map(model))(inputs(), training=False))
    without = places.copy()
    without[:, 0, 3] = 0
    flat = [np.reshape(np.array(grid(one)), (2, -1)) for one in (places, without)]
    ages = [np.array(behind([one, inputs()["sex"]], training=False)) for one in flat]
    np.testing.assert_allclose(months[:, 0, 3], (ages[0] - ages[1])[:, 0], atol=2e-4)


@pytest.mark.parametrize("name", [*ONE_OF_A_KIND])
def test_the_map_is_an_output_of_exports(name, tmp_path):
    """Its conversion is tested with that of the months, in test_contract.py."""
    model = model_of(name)
    if name in ("bonewise", "efficientnet_lite0"):  # untrained, next to nothing arrives there
        gamma, *others = model.get_layer("top_bn").get_weights()
        model.get_layer("top_bn").set_weights([1e6 * gamma, *others])
    served = build_mapped_model(build_served_model(model))
    model.save(tmp_path / "model.keras")  # what shares its layers leaves it whole
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    expected = served(inputs(), training=False)
    np.testing.assert_allclose(
        again(inputs(), training=False)["age_months"], expected["age_months"], atol=1e-3
    )
    np.testing.assert_allclose(
        model(inputs(), training=False)["age_months"], expected["age_months"], atol=1e-3
    )
    heat = np.array(expected[schema.MAP])
    assert heat.ndim == 3
    assert heat.min() >= 0
    np.testing.assert_allclose(heat.max(axis=(1, 2)), 1, rtol=1e-5)
    assert np.ptp(heat) > 1e-3

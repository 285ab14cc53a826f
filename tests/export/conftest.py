"""A small export as users make it, with the film check that comes with the project."""

import io

import keras
import numpy as np
import pytest
from made_films import encode, sharpen
from PIL import Image

AGES = (30.0, 84.0, 144.0, 192.0)


@pytest.fixture(scope="session")
def drawn():
    """Drawn hands, 160 px, uint8."""
    from bone_age_tf.prepare import draw_radiographs

    return [
        np.asarray(Image.open(io.BytesIO(film))) for film in draw_radiographs(AGES, 160, seed=3)
    ]


@pytest.fixture(scope="session")
def served(root, phantoms, drawn, tmp_path_factory):
    """An exports folder with the model `tiny` and the film check: (folder of exports, version)."""
    import shutil

    from bone_age_tf import config as configs
    from bone_age_tf.evaluation.familiarity import fit_familiarity
    from bone_age_tf.export import parity, publish
    from bone_age_tf.models.build import build_features_model, build_model
    from bone_age_tf.models.catalog import MODELS
    from bone_age_tf.quality.publish import load_quality_check

    exports = tmp_path_factory.mktemp("served")
    shutil.copytree(root / "exports" / "film_check", exports / "film_check")
    MODELS["tiny"] = "tiny_network"
    try:
        config = configs.base_config()
        config.model, config.dataset, config.image_size_px = "tiny", "hand_phantom", 32
        keras.utils.set_random_seed(1)
        network = build_model(config)
        sharpen(network)
        cases = [
            parity.Case(encode(film), _fitted(film), place % 2, AGES[place])
            for place, film in enumerate(drawn)
        ]
        features = build_features_model(network)
        images = np.stack([case.image for case in cases])
        rng = np.random.default_rng(0)
        images = np.concatenate([images + rng.normal(0, 9, images.shape) for _ in range(20)])
        known = features.predict({"image": images, "sex": np.zeros((len(images), 1))}, verbose=0)
        folder, _ = publish.publish(
            network,
            config,
            cases,
            cases,
            {},
            exports,
            familiarity=fit_familiarity(known[::2], known[1::2]),
            quality_check=load_quality_check(exports),
            radiographs=[case.encoded for case in cases],
        )
    finally:
        MODELS.pop("tiny")
    return exports, folder


def _fitted(film):
    from bone_age_tf.images import resizing

    # The quality check cuts black edges off before it hands a film on.
    return resizing.resize(resizing.trim_margins(film.astype(np.float32)), 32)[..., None]

"""Tests of the builder and of what a model can learn from its images."""

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from bone_age_datasets.hand_phantom import hand_phantom_dataset_builder as module

from bone_age_tf import schema

CONFIGS = {config.name: config for config in module.Builder.BUILDER_CONFIGS}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = module.Builder(data_dir=tmp_path_factory.mktemp("data"), config="tiny")
    made.download_and_prepare()
    return made


def test_default_configuration_is_small(tmp_path):
    made = module.Builder(data_dir=tmp_path)
    config = made.builder_config
    assert made.name == "hand_phantom"
    assert (config.name, config.train, config.validation, config.test) == ("small", 1200, 200, 400)
    assert config.image_size_px == 128
    assert (CONFIGS["large"].train, CONFIGS["large"].test) == (10000, 1000)


def test_metadata_is_found(builder):
    assert "procedural" in builder.info.description
    assert "Greulich" in builder.info.citation


def test_features_are_the_schemas(builder):
    assert set(builder.info.features) == set(schema.FEATURES)
    assert tuple(builder.info.features[schema.SEX].names) == schema.SEX_NAMES
    assert builder.info.features[schema.IMAGE].shape == (None, None, 1)
    assert builder.info.features[schema.AGE_MONTHS].np_dtype == np.float32


def test_every_split_yields_valid_examples(builder):
    seen = set()
    for split, size in (("train", 48), ("validation", 16), ("test", 16)):
        examples = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert len(examples) == size
        for example in examples:
            assert set(example) == set(schema.FEATURES)
            assert example[schema.IMAGE].shape == (64, 64, 1)
            assert example[schema.IMAGE].dtype == np.uint8
            assert 12 <= example[schema.AGE_MONTHS] <= 216
            assert example[schema.CHRONOLOGICAL_AGE_MONTHS] > 0
            seen.add(example[schema.IMAGE_ID].decode())
        sexes = [int(example[schema.SEX]) for example in examples]
        assert sexes.count(schema.FEMALE) == sexes.count(schema.MALE)
    assert len(seen) == 80
    assert "phantom_train_00012" in seen


def test_stored_example_is_the_made_one(builder):
    stored = {
        example[schema.IMAGE_ID].decode(): example
        for example in tfds.as_numpy(builder.as_dataset(split="test"))
    }
    image, features = module.make_example(CONFIGS["tiny"], "test", 5)
    example = stored[features[schema.IMAGE_ID]]
    np.testing.assert_array_equal(example[schema.IMAGE], image)
    assert example[schema.AGE_MONTHS] == features[schema.AGE_MONTHS]
    assert schema.SEX_NAMES[example[schema.SEX]] == features[schema.SEX]


def test_examples_differ_between_splits_and_seeds():
    config = CONFIGS["tiny"]
    ages = [module.make_example(config, split, 0)[1]["age_months"] for split in module.SPLITS]
    other = module.HandPhantomConfig(name="other", image_size_px=64, seed=1)
    ages.append(module.make_example(other, "train", 0)[1]["age_months"])
    assert len(set(ages)) == 4


def _views(split, count):
    """Wrist and whole hand, small, with contrast evened out; and sex and age."""
    rows, ages = [], []
    for index in range(count):
        image, features = module.make_example(CONFIGS["small"], split, index)
        small = cv2.resize(image, (20, 20), interpolation=cv2.INTER_AREA).astype(np.float64)
        pixels = (small - small.mean()) / small.std()
        sex = schema.parse_sex(features[schema.SEX])
        rows.append(np.concatenate([pixels.ravel(), [4.0 * sex, 1.0]]))
        ages.append(features[schema.AGE_MONTHS])
    return np.stack(rows), np.array(ages, np.float64)


def test_age_is_learnable():
    inputs, ages = _views("train", 200)
    held_out, truth = _views("validation", 60)
    gram = inputs.T @ inputs + 60.0 * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, inputs.T @ (ages - ages.mean()))
    error = np.abs(held_out @ weights + ages.mean() - truth).mean()
    baseline = np.abs(np.median(ages) - truth).mean()
    assert error < 0.6 * baseline

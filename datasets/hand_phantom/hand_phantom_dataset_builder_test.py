"""Tests of the builder and of what a model can learn from its images."""

import dataclasses
import pathlib

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from bone_age_datasets.hand_phantom import examples, population, truth
from bone_age_datasets.hand_phantom import hand_phantom_dataset_builder as module

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.prepare import prepare_dataset

CONFIGS = {config.name: config for config in module.Builder.BUILDER_CONFIGS}
TINY = CONFIGS["tiny"].settings
README = pathlib.Path(module.__file__).with_name("README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    made = module.Builder(data_dir=tmp_path_factory.mktemp("data"), config="tiny")
    made.download_and_prepare()
    return made


def test_default_configuration_is_small(tmp_path):
    made = module.Builder(data_dir=tmp_path)
    settings = made.settings
    assert (made.name, made.builder_config.name) == ("hand_phantom", "small")
    assert (settings.train, settings.validation, settings.test) == (1200, 200, 400)
    assert settings.image_size_px == 128
    large = CONFIGS["large"].settings
    assert (large.train, large.test) == (10000, 1000)
    bones = dataclasses.replace(large, variety=0.3, random_size=True)
    assert CONFIGS["only_bones"].settings == bones


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("small", {"variety": 0.3}),
        ("px96", {"image_size_px": 96}),
        ("px256", {"image_size_px": 256}),
        ("rsna_like", {"age_distribution": "rsna_like"}),
        ("skewed", {"age_distribution": "skewed"}),
        ("shifted", {"maturity_shift_months": 12.0}),
        ("noisy", {"label_noise_months": 6.0}),
        ("girls", {"female_fraction": 0.8}),
    ],
)
def test_other_configurations_differ_from_varied_in_one_thing(name, changes):
    assert CONFIGS[name].settings == dataclasses.replace(CONFIGS["varied"].settings, **changes)


def test_metadata_is_found(builder):
    assert "procedural" in builder.info.description
    assert "Greulich" in builder.info.citation
    assert builder.info.metadata["bones"] == list(truth.BONES)
    assert builder.info.metadata["landmarks"] == list(truth.LANDMARKS)
    assert builder.info.metadata["settings"] == dataclasses.asdict(TINY)


def test_features_are_the_schemas_and_the_truth(builder):
    features = builder.info.features
    assert set(schema.FEATURES) < set(features)
    assert tuple(features[schema.SEX].names) == schema.SEX_NAMES
    assert features[schema.IMAGE].shape == (None, None, 1)
    assert features[schema.AGE_MONTHS].np_dtype == np.float32
    assert tuple(features["regions"]["region"].names) == truth.REGIONS
    assert tuple(features["carpals"]["carpal"].names) == truth.CARPALS
    assert tuple(features["laterality"].names) == ("left", "right")


def names_of(features):
    for name, feature in features.items():
        yield name
        inner = getattr(feature, "feature", feature)  # that of a sequence
        if isinstance(inner, tfds.features.FeaturesDict):
            yield from names_of(inner)


def test_readme_tells_every_feature_configuration_and_setting(builder):
    names = set(names_of(builder.info.features)) | set(CONFIGS) | set(population.AGE_DISTRIBUTIONS)
    names |= {field.name for field in dataclasses.fields(population.PhantomSettings)}
    assert {"width_ratio", "bbox", "region", "carpal"} <= names
    assert not [name for name in sorted(names) if f"`{name}`" not in README]
    for name, config in CONFIGS.items():
        settings = config.settings
        counts = f"{settings.train} | {settings.validation} | {settings.test}"
        row = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
        assert f"| {counts} | {settings.image_size_px} |" in row
    for names in (truth.BONES, truth.LANDMARKS, truth.REGIONS, truth.CARPALS):
        assert ", ".join(names) in " ".join(README.split())


def test_every_split_yields_valid_examples(builder):
    seen = set()
    for split, size in (("train", 48), ("validation", 16), ("test", 16)):
        rows = list(tfds.as_numpy(builder.as_dataset(split=split)))
        assert len(rows) == size
        for row in rows:
            assert set(row) == set(builder.info.features)
            assert row[schema.IMAGE].shape == row["mask"].shape == (64, 64, 1)
            assert row[schema.IMAGE].dtype == row["mask"].dtype == np.uint8
            assert 3 <= row[schema.AGE_MONTHS] <= 228
            assert row[schema.CHRONOLOGICAL_AGE_MONTHS] > 0
            seen.add(row[schema.IMAGE_ID].decode())
        sexes = [int(row[schema.SEX]) for row in rows]
        assert sexes.count(schema.FEMALE) == sexes.count(schema.MALE)
    assert len(seen) == 80
    assert "phantom_train_00012" in seen


def test_stored_example_is_the_made_one(builder):
    stored = {
        row[schema.IMAGE_ID].decode(): row
        for row in tfds.as_numpy(builder.as_dataset(split="test"))
    }
    image, made = examples.make_example(TINY, "test", 5)
    row = stored[made[schema.IMAGE_ID]]
    np.testing.assert_array_equal(row[schema.IMAGE], image)
    for name in ("mask", "landmarks", "age_months", "skeletal_age_months", "inverted"):
        np.testing.assert_array_equal(row[name], made[name])
    for name in ("bones", "regions", "carpals"):
        assert set(row[name]) == set(made[name])
        for part, values in made[name].items():
            np.testing.assert_array_equal(row[name][part], values)
    assert schema.SEX_NAMES[row[schema.SEX]] == made[schema.SEX]
    assert examples.LATERALITY_NAMES[row["laterality"]] == made["laterality"]


def test_training_reads_no_truth(builder):
    rows = next(iter(pipeline.read_encoded(builder, pipeline.Part("train"))))
    assert set(rows) == {schema.IMAGE, schema.IMAGE_ID, schema.SEX, schema.AGE_MONTHS}


def test_own_configuration_and_processes(tmp_path):
    settings = population.PhantomSettings(train=40, validation=0, test=5, image_size_px=32)
    config = module.HandPhantomConfig(name="mine", settings=settings, processes=2)
    made = module.Builder(data_dir=tmp_path, config=config)
    made.download_and_prepare()
    assert {name: made.info.splits[name].num_examples for name in made.info.splits} == {
        "train": 40,
        "test": 5,
    }
    rows = {r["image_id"].decode(): r for r in tfds.as_numpy(made.as_dataset(split="train"))}
    image, features = examples.make_example(settings, "train", 39)
    np.testing.assert_array_equal(rows[features["image_id"]]["image"], image)
    module.Builder(data_dir=tmp_path, config=config)  # is served again
    other = module.HandPhantomConfig(name="mine", settings=dataclasses.replace(settings, seed=1))
    with pytest.raises(ValueError, match=r"other settings.*seed 20171125"):
        module.Builder(data_dir=tmp_path, config=other)


def test_tfds_shows_one_bar_with_the_total(tmp_path, capsys):
    settings = population.PhantomSettings(train=3, validation=0, test=0, image_size_px=32)
    config = module.HandPhantomConfig(name="three", settings=settings)
    module.Builder(data_dir=tmp_path, config=config).download_and_prepare()
    assert "Generating train examples...:   0%|          | 0/3" in capsys.readouterr().err


def _wrist(image, features, usual):
    """The wrist, brought to the same place by the landmarks, small, with contrast evened out."""
    size = image.shape[0]
    places = features["landmarks"] * size - 0.5
    matrix = np.linalg.lstsq(np.column_stack([places, np.ones(len(places))]), usual, rcond=None)[0]
    placed = cv2.warpAffine(image.astype(np.float64), matrix.T, (size, size))
    x, y = np.rint(usual[-2:].mean(axis=0)).astype(int)  # between radius and ulna
    wrist = placed[y - 28 : y + 12, x - 20 : x + 30]
    pixels = cv2.resize(wrist, (24, 24), interpolation=cv2.INTER_AREA)
    pixels = (pixels - pixels.mean()) / pixels.std()
    return -pixels if features["inverted"] else pixels


def _views(split, count):
    """What tells the age: the wrist's pixels, or the state of every bone; and the age."""
    settings = CONFIGS["px96"].settings
    usual = 96.0 * examples.make_example(settings, "train", 0)[1]["landmarks"].astype(np.float64)
    views, bones, ages = [], [], []
    for index in range(count):
        image, features = examples.make_example(settings, split, index)
        sex = schema.parse_sex(features[schema.SEX])
        views.append([*_wrist(image, features, usual).ravel(), 4.0 * sex, 1.0])
        states = features["bones"]
        bones.append([*states["width_ratio"], *states["fused"], sex, 1.0])
        ages.append(features[schema.AGE_MONTHS])
    return np.array(views), np.array(bones), np.array(ages, np.float64)


def test_age_is_learnable_from_the_bones_and_from_the_image():
    (*inputs, ages), (*held_out, truths) = _views("train", 200), _views("validation", 60)
    baseline = np.abs(np.median(ages) - truths).mean()
    # Linear ridge regressions; what a network can learn is more.
    for known, asked, ridge, share in zip(inputs, held_out, (30.0, 0.1), (0.6, 0.1), strict=True):
        gram = known.T @ known + ridge * np.eye(known.shape[1])
        weights = np.linalg.solve(gram, known.T @ (ages - ages.mean()))
        error = np.abs(asked @ weights + ages.mean() - truths).mean()
        assert error < share * baseline


def test_beam_writes_the_same_examples_in_the_same_order(builder, tmp_path):
    in_beam = prepare_dataset("hand_phantom/tiny", tmp_path, None, beam_runner="DirectRunner")
    for split in builder.info.splits:
        pairs = zip(
            tfds.as_numpy(builder.as_dataset(split)),
            tfds.as_numpy(in_beam.as_dataset(split)),
            strict=True,
        )
        for one, other in pairs:
            assert one["image_id"] == other["image_id"]
            np.testing.assert_array_equal(one["image"], other["image"])
            np.testing.assert_array_equal(one["mask"], other["mask"])

"""Tests of the examples: the same again by seed, and what each setting moves and leaves alone."""

import dataclasses
import functools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from bone_age_datasets.hand_phantom import examples, population, truth
from bone_age_datasets.hand_phantom.population import PhantomSettings

SMALL = PhantomSettings(train=40, validation=3, test=3, image_size_px=32)


def at_age(age, **knobs):
    return dataclasses.replace(SMALL, min_age_months=age, max_age_months=age, **knobs)


@functools.cache
def _features(settings, index):
    return examples.make_example(settings, "train", index)[1]


def features_of(settings, count=30):
    return [_features(settings, index) for index in range(count)]


def column(rows, name):
    return np.array([row[name] for row in rows])


def maturities(rows):
    return np.stack([np.concatenate([row["bones"][k] for k in ("width_ratio", "fused")])
                     for row in rows])  # fmt: skip


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_equal(one[name], other[name])
    else:
        np.testing.assert_array_equal(one, other)


def test_an_example_depends_on_settings_split_and_position_alone():
    image, features = examples.make_example(SMALL, "train", 7)
    examples.make_example(SMALL, "train", 8)
    again, features_again = examples.make_example(SMALL, "train", 7)
    np.testing.assert_array_equal(image, again)
    assert_equal(features, features_again)
    assert image.shape == features["mask"].shape == (32, 32, 1)
    assert image.dtype == features["mask"].dtype == np.uint8
    assert features["image_id"] == "phantom_train_00007"
    # The number of examples decides nothing about any of them.
    more = dataclasses.replace(SMALL, train=1000, test=0)
    assert_equal(features, examples.make_example(more, "train", 7)[1])


def test_splits_positions_and_seeds_differ():
    other = dataclasses.replace(SMALL, seed=1)
    made = [examples.make_example(SMALL, split, 0) for split in population.SPLITS]
    made += [examples.make_example(SMALL, "train", 2), examples.make_example(other, "train", 0)]
    assert len({float(features["age_months"]) for _, features in made}) == 5
    assert len({image.tobytes() for image, _ in made}) == 5


def test_any_number_of_processes_makes_the_same():
    alone = list(examples.make_examples(SMALL, "train", processes=1, progress=False))
    pooled = list(examples.make_examples(SMALL, "train", processes=2, progress=False))
    assert len(alone) == len(pooled) == 40
    for index, ((image, features), (other, other_features)) in enumerate(
        zip(alone, pooled, strict=True)
    ):
        assert features["image_id"] == f"phantom_train_{index:05d}"
        np.testing.assert_array_equal(image, other)
        assert_equal(features, other_features)


def test_png_files_hold_the_same_pixels_and_the_bar_counts(capsys):
    made = list(examples.make_examples(SMALL, "test", encode_png=True))
    assert "test: 100%" in capsys.readouterr().err
    for index, (encoded, features) in enumerate(made):
        image, plain = examples.make_example(SMALL, "test", index)
        for data, pixels in ((encoded, image), (features["mask"], plain["mask"])):
            decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(decoded, pixels[:, :, 0])


def test_a_script_without_a_guard_draws_in_processes_and_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\n"
        "from bone_age_datasets.hand_phantom import examples\n"
        "settings = examples.PhantomSettings(train=40, image_size_px=32)\n"
        "made = examples.make_examples(settings, 'train', processes=2, progress=False)\n"
        "print(next(made)[1]['image_id']); made.close()\n"
        "import sys; print([m for m in ('tensorflow', 'keras') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert done.stdout.split("\n") == ["once", "phantom_train_00000", "[]", ""], done.stderr


def test_bad_requests_fail_at_once():
    for ask in (examples.make_examples, lambda *given: examples.make_example(*given, 0)):
        with pytest.raises(ValueError, match="'dev'; allowed are train, validation, test"):
            ask(SMALL, "dev")
    with pytest.raises(ValueError, match="processes is 0"):
        examples.make_examples(SMALL, "train", processes=0)


def subjects(settings, count=2000):
    return [population.draw_subject(settings, "train", index) for index in range(count)]


def ages_of(settings, field="age_months", count=2000):
    return np.array([getattr(subject, field) for subject in subjects(settings, count)])


def test_girls_are_more_mature_at_an_age():
    girls, boys = (maturities(features_of(at_age(96.0, female_fraction=f), 8)) for f in (1.0, 0.0))
    assert girls.sum(axis=1).mean() > boys.sum(axis=1).mean() + 2


def test_shift_moves_bones_and_not_labels():
    plain = features_of(SMALL)
    shifted = features_of(dataclasses.replace(SMALL, maturity_shift_months=12.0))
    for name in ("age_months", "chronological_age_months", "sex", "laterality"):
        np.testing.assert_array_equal(column(plain, name), column(shifted, name))
    np.testing.assert_allclose(column(plain, "skeletal_age_months"), column(plain, "age_months"))
    ahead = column(shifted, "skeletal_age_months") - column(shifted, "age_months")
    np.testing.assert_allclose(ahead, 12.0, atol=1e-4)
    change = maturities(shifted) - maturities(plain)
    assert change.min() > -0.01 and change.sum(axis=1).min() >= 0 and change.sum() > 30


def test_a_shifted_hand_is_that_of_an_older_child():
    image, features = examples.make_example(at_age(60.0, maturity_shift_months=12.0), "train", 3)
    older, features_older = examples.make_example(at_age(72.0), "train", 3)
    np.testing.assert_array_equal(image, older)
    assert_equal(features["bones"], features_older["bones"])
    assert (features["age_months"], features_older["age_months"]) == (60.0, 72.0)
    # Nobody is younger than a month or older than twenty years.
    early, late = (features_of(at_age(age, maturity_shift_months=shift), 1)[0]
                   for age, shift in ((50.0, -100.0), (200.0, 100.0)))  # fmt: skip
    assert (early["skeletal_age_months"], late["skeletal_age_months"]) == (1.0, 240.0)
    assert (early["age_months"], late["age_months"]) == (50.0, 200.0)


def test_noise_moves_labels_alone():
    noisy_settings = dataclasses.replace(SMALL, label_noise_months=6.0)
    one, two = (examples.make_example(settings, "train", 3) for settings in (SMALL, noisy_settings))
    np.testing.assert_array_equal(one[0], two[0])
    assert one[1].pop("age_months") != two[1].pop("age_months")
    assert_equal(one[1], two[1])
    errors = ages_of(noisy_settings) - ages_of(SMALL)
    assert errors.mean() == pytest.approx(0.0, abs=0.5)
    assert errors.std() == pytest.approx(6.0, rel=0.06)
    assert abs(np.corrcoef(errors, ages_of(SMALL))[0, 1]) < 0.06
    labels = ages_of(at_age(10.0, label_noise_months=60.0))
    assert labels.min() == 1.0 and labels.max() <= 240


def test_without_ossification_centres_stay_as_at_ten_years():
    ages = (12.0, 60.0, 120.0, 200.0)
    made = [examples.make_example(at_age(age, ossification=False), "train", 5) for age in ages]
    rows = [features for _, features in made]
    states = maturities(rows)
    assert states.max() > 0
    # Widths are measured on outlines, whose stoutness follows the size of the hand.
    np.testing.assert_allclose(states, states[2:3].repeat(4, axis=0), atol=0.01)
    assert_equal(rows[2]["bones"], features_of(at_age(120.0), 6)[5]["bones"])
    assert set(column(rows, "skeletal_age_months")) == {120.0}
    np.testing.assert_array_equal(column(rows, "age_months"), ages)
    sizes = [hand_length(row) for row in rows]
    assert (np.diff(sizes) > 0.005).all()


def hand_length(features):
    places = features["landmarks"]
    tip, radius = (truth.LANDMARKS.index(name) for name in ("TIP3", "radius"))
    return float(np.linalg.norm(places[tip] - places[radius]))


def test_random_size_says_nothing_about_age():
    related, lengths = [], []
    for random_size in (False, True):
        settings = dataclasses.replace(SMALL, random_size=random_size)
        ages, sizes = ages_of(settings), ages_of(settings, "size_age_months")
        related.append(np.corrcoef(sizes, ages)[0, 1])
        assert sizes.mean() == pytest.approx(115.5, abs=5)
        np.testing.assert_array_equal(ages, ages_of(settings, "skeletal_age_months"))
        lengths.append([hand_length(row) for row in features_of(settings, 60)])
    assert related[0] == pytest.approx(1.0) and abs(related[1]) < 0.06
    ages = ages_of(SMALL, count=60)
    assert np.corrcoef(ages, lengths[0])[0, 1] > 0.5
    assert abs(np.corrcoef(ages, lengths[1])[0, 1]) < 0.3
    children = [  # the bones are those of the same children at their usual size
        maturities(features_of(dataclasses.replace(SMALL, random_size=random_size), 20))
        for random_size in (False, True)
    ]
    np.testing.assert_allclose(children[0], children[1], atol=0.01)


def test_chronological_age_is_about_bone_age():
    settings = at_age(100.0, maturity_shift_months=30.0)
    deviations = ages_of(settings, "chronological_age_months") - 100.0
    assert deviations.mean() == pytest.approx(0.0, abs=0.7)
    assert deviations.std() == pytest.approx(10.0, rel=0.06)
    assert ages_of(at_age(2.0), "chronological_age_months").min() == 1.0


def test_truth_is_that_of_the_image():
    rows = features_of(SMALL, 100)
    assert {"left"} < set(column(rows, "laterality")) == {"left", "right"}
    assert set(column(rows, "inverted")) == {True, False}
    thumb, little = (truth.LANDMARKS.index(name) for name in ("TIP1", "TIP5"))
    for row in rows:
        thumb_on_the_right = row["landmarks"][thumb, 0] > row["landmarks"][little, 0]
        assert thumb_on_the_right == (row["laterality"] == "left")
        assert len(row["regions"]["bbox"]) == len(row["regions"]["region"]) >= 10
        assert truth.has_area(row["regions"]["bbox"]).all()
        present = dict(zip(truth.BONES, row["bones"]["present"], strict=True))
        shown = {truth.CARPALS[label] for label in row["carpals"]["carpal"]}
        assert shown == {name for name in truth.CARPALS if present[name]}

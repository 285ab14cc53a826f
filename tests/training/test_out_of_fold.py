import numpy as np
import pytest

from bone_age_tf.training import out_of_fold


@pytest.fixture
def asked(monkeypatch):
    """Records who trains which network; each says the mean label of those that it was shown."""
    trained = []

    def train(config, images, sex, age_months, seed):
        trained.append([int(image[0, 0]) for image in images])
        return float(np.mean(age_months))

    def predict(mean, config, images, sex):
        return mean + 1000.0 * sex

    monkeypatch.setattr(out_of_fold, "_trained", train)
    monkeypatch.setattr(out_of_fold, "_predict", predict)
    return trained


def run(config, folder, seed=0):
    images = np.repeat(np.arange(6, dtype=np.uint8), 4).reshape(6, 2, 2)
    folds = np.array([0, 1, 0, 1, 2, -1])
    ages = np.array([10.0, 20, 30, 40, 50, 999])
    sex = np.array([0, 1, 0, 0, 1, 0])
    return out_of_fold.out_of_fold_months(config, images, sex, ages, folds, folder, seed)


def test_no_network_has_seen_what_it_says(tiny_config, asked, tmp_path):
    months = run(tiny_config, tmp_path)
    assert asked == [[1, 3, 4], [0, 2, 4], [0, 1, 2, 3]]  # never the sixth
    own = [110 / 3, 30, 110 / 3, 30, 25, (110 / 3 + 30 + 25) / 3]
    np.testing.assert_allclose(months[0] - [0, 1000, 0, 0, 1000, 0], own)
    np.testing.assert_allclose(months[1] - [1000, 0, 1000, 1000, 0, 1000], own)


def test_a_second_call_goes_on_and_another_seed_begins_anew(tiny_config, asked, tmp_path):
    first = run(tiny_config, tmp_path)
    (tmp_path / "fold2.json").unlink()
    np.testing.assert_array_equal(run(tiny_config, tmp_path), first)
    assert len(asked) == 4
    run(tiny_config, tmp_path, seed=1)
    assert len(asked) == 7


def test_folds_depend_on_the_id_alone():
    names = [str(number) for number in range(1000)]
    folds = [out_of_fold.fold_of(name, 4) for name in names]
    assert folds == [out_of_fold.fold_of(name, 4) for name in names]
    assert min(np.bincount(folds)) > 200


@pytest.mark.slow
def test_a_network_trains_and_answers_in_months(tiny_config, tmp_path, eager):
    random = np.random.default_rng(0)
    images = random.integers(0, 255, (32, 32, 32), np.uint8)
    ages, sex = random.uniform(20, 200, 32), random.integers(0, 2, 32)
    folds = np.arange(32) % 2
    months = out_of_fold.out_of_fold_months(tiny_config, images, sex, ages, folds, tmp_path, seed=0)
    assert months.shape == (2, 32)
    assert (months > 0).all() and (months < 240).all()
    assert np.abs(months[0] - months[1]).max() > 0

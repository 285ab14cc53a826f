import numpy as np
import pytest

from bone_age_tf.evaluation.site_doubts import find_doubts

SCATTER = 10.0


def make_site(seed, count=40, scatter=SCATTER, shift=0.0, difference=20.0):
    """A site's cases; the model reads a boy 20 months older than a girl with the same hand.

    Returns:
        Ages as female and as male [2, N], readers' ages [N] and sexes [N].
    """
    random = np.random.default_rng(seed)
    ages, sex = random.uniform(24, 200, count), np.arange(count) % 2
    own = ages - shift + random.normal(0, scatter, count)
    return np.stack([own - difference * sex, own + difference * (1 - sex)]), ages, sex


@pytest.mark.parametrize("shift", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("count", [6, 20, 50, 200])
@pytest.mark.parametrize("scatter", [6.0, 12.0, 25.0])
def test_honest_sites_are_not_doubted(count, shift, scatter):
    found = [
        doubt
        for seed in range(50)
        for doubt in find_doubts(*make_site(seed, count, scatter, shift), SCATTER, 1, 2)
    ]
    assert found == []


def test_labels_in_years():
    by_sex, ages, sex = make_site(0)
    (doubt,) = find_doubts(by_sex, ages / 12, sex, SCATTER)
    assert "they look like years" in doubt


def test_errors_of_several_times_the_models_own():
    by_sex, ages, sex = make_site(0)
    (doubt,) = find_doubts(by_sex, ages + 60, sex, SCATTER)
    assert "times as much as where it was tested" in doubt


def test_shuffled_ages():
    by_sex, ages, sex = make_site(0)
    shuffled = np.random.default_rng(1).permutation(ages)
    doubts = find_doubts(by_sex, shuffled, sex, SCATTER)
    assert any("are rows shuffled?" in doubt for doubt in doubts)


@pytest.mark.parametrize("shift", [0.0, 12.0])
def test_swapped_sexes(shift):
    by_sex, ages, sex = make_site(0, shift=shift)
    (doubt,) = find_doubts(by_sex, ages, 1 - sex, SCATTER)
    assert "are the sexes swapped?" in doubt


def test_copies_and_rows_that_fall_out():
    by_sex, ages, sex = make_site(0)
    assert find_doubts(by_sex, ages, sex, SCATTER, copies=4, left_out=40) == []
    doubts = find_doubts(by_sex, ages, sex, SCATTER, copies=10, left_out=41)
    assert doubts == [
        "41 of 91 rows cannot be used",
        "10 of 91 rows repeat the radiograph of another row",
    ]
    nothing = np.zeros((2, 0)), np.zeros(0), np.zeros(0, int)
    assert find_doubts(*nothing, SCATTER, left_out=3) == ["3 of 3 rows cannot be used"]

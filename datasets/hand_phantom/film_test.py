"""Tests of the film: what lies on it besides the hand, and how it is exposed."""

import dataclasses

import numpy as np
from bone_age_datasets.hand_phantom import anatomy, film

SIZE = 96


def films(count=400):
    return [film.sample_film(np.random.default_rng(seed)) for seed in range(count)]


def expose(taken, attenuation=None, seed=0):
    if attenuation is None:
        attenuation = np.zeros((2 * SIZE, 2 * SIZE), np.float32)
    return film.expose(attenuation, taken, np.random.default_rng(seed))


def plain(**changes):
    taken = film.sample_film(np.random.default_rng(1))
    nothing = {"field": None, "marker": None, "borders": np.zeros(4), "heel": np.zeros(2)}
    values = {"inverted": False, "right_hand": False, "noise": 0.001, "background": 0.2}
    return dataclasses.replace(taken, **(nothing | values | {"contrast": 0.7} | changes))


def test_shares_are_kept():
    taken = films()
    for share, of_films in (
        (film.RIGHT_HAND_SHARE, [one.right_hand for one in taken]),
        (film.INVERTED_SHARE, [one.inverted for one in taken]),
        (film.FRAMED_SHARE, [one.field is not None for one in taken]),
    ):
        assert abs(np.mean(of_films) - share) < 4 * np.sqrt(share * (1 - share) / len(taken))


def test_more_attenuation_is_brighter_and_inversion_turns_it():
    attenuation = np.zeros((2 * SIZE, 2 * SIZE), np.float32)
    attenuation[:, SIZE:] = 1.0
    image, _ = expose(plain(sharpening=0.0), attenuation)
    negative, _ = expose(plain(sharpening=0.0, inverted=True), attenuation)
    assert image[:, 60:].mean() > image[:, :40].mean() + 80
    np.testing.assert_allclose(negative.astype(int), 255 - image.astype(int), atol=1)


def test_a_right_hand_is_a_mirrored_left_hand():
    left, right = plain(), plain(right_hand=True)
    point = np.array([10.0, 40.0, 1.0])
    x, y = film.film_matrix(left, 1.0) @ point
    mirrored = film.film_matrix(right, 1.0) @ point
    np.testing.assert_allclose(mirrored, [1.0 - x, y])


def test_a_frame_hides_what_is_outside():
    corners = np.array([(0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8)])
    taken = plain(field=film.Field(corners, outside=0.0, edge=float("nan")))
    image, mask = expose(taken)
    assert image[:15].max() == 0 and image[:, -15:].max() == 0
    assert image[40:60, 40:60].min() > 30
    assert mask[50, 50] == 255 and mask[5, 5] == 0
    assert abs((mask > 127).mean() - 0.36) < 0.03


def test_a_marker_is_white_and_where_it_should_be():
    marker = film.Marker(np.array([0.2, 0.7]), 0.08, 0.0, "AB", float("nan"), round_plate=False)
    with_marker, _ = expose(plain(marker=marker))
    without, _ = expose(plain())
    changed = np.argwhere(with_marker != without)
    assert with_marker.max() > 240
    assert np.abs(changed.mean(axis=0) / SIZE - [0.72, 0.2]).max() < 0.05
    left, _ = expose(plain(marker=dataclasses.replace(marker, initials="")))
    right, _ = expose(plain(right_hand=True, marker=dataclasses.replace(marker, initials="")))
    assert (left != right).any()  # an R instead of an L


def test_noise_and_heel_do_what_they_say():
    quiet, _ = expose(plain(noise=0.0))
    noisy, _ = expose(plain(noise=0.05, grain=0.0))
    assert quiet.std() == 0
    assert noisy.std() > 5
    sloped, _ = expose(plain(noise=0.0, heel=np.array([0.0, 0.5])))
    assert float(sloped[-5:].mean()) > 1.3 * float(sloped[:5].mean())


def test_variety_spreads_films_and_children():
    def spread_of(variety):
        taken = [film.sample_film(np.random.default_rng(seed), variety) for seed in range(60)]
        children = [anatomy.sample_child(1, np.random.default_rng(s), variety) for s in range(60)]
        return {
            "turn": np.std([one.turn_deg for one in taken]),
            "contrast": np.std([one.contrast for one in taken]),
            "framed": np.mean([one.field is not None for one in taken]),
            "thumb": np.std([child.angles_deg[0] for child in children]),
            "medulla": np.std([child.tissue.medulla for child in children]),
        }

    none, some, full = (spread_of(variety) for variety in (0.0, 0.3, 1.0))
    for name, value in full.items():
        assert none[name] < 1e-9, name
        assert 0.1 * value < some[name] < 0.6 * value, name


def test_variety_changes_no_draw():
    for seed in range(30):
        one, other = (np.random.default_rng(seed) for _ in range(2))
        nearer, further = film.sample_film(one, 0.5), film.sample_film(other, 1.0)
        assert one.random() == other.random()  # what is drawn next is the same
        np.testing.assert_allclose(2 * nearer.shift, further.shift)
        assert nearer.turn_deg * 2 == further.turn_deg

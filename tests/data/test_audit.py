import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bone_age_tf.data import pipeline
from bone_age_tf.data.audit import describe_hand, describe_image, find_twins


def encoded(image, form="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def films(phantoms):
    rows = pipeline.read_encoded(phantoms, pipeline.Part("train")).as_numpy_iterator()
    return [Image.open(io.BytesIO(row["image"])).convert("L") for row in rows][:24]


def test_an_image_in_a_few_numbers():
    pixels = np.full((40, 20), 100, np.uint8)
    pixels[:10] = 0
    pixels[-1] = 250
    facts = describe_image(encoded(Image.fromarray(pixels)))
    assert (facts.width_px, facts.height_px) == (20, 40)
    assert facts.mean == pytest.approx((29 * 100 + 250) / 40)
    assert (facts.low, facts.high) == (0, 250)
    assert facts.dark_share == 0.25
    assert facts.white_share == 1 / 40
    assert facts.edge_share == 0.25
    assert np.linalg.norm(facts.thumbnails, axis=1) == pytest.approx(1)


def test_a_hand_is_measured_in_the_whole_image():
    boxes = np.tile([0.4, 0.4, 0.5, 0.5], (17, 1))
    boxes[0], boxes[1] = (0.1, 0.3, 0.2, 0.4), (0.8, 0.4, 0.9, 0.6)
    found = describe_hand(boxes, np.linspace(0, 1, 17), (100, 60), longer_side_px=200)
    assert found.extent == pytest.approx(0.8 * 100 / 200)
    assert found.score == pytest.approx(0.5)


def test_different_hands_are_no_twins(films):
    assert find_twins([describe_image(encoded(film)) for film in films]) == []


@pytest.mark.parametrize(
    ("change", "how"),
    [
        (lambda film: encoded(film), "exact"),
        (lambda film: encoded(film, "JPEG", quality=60), "near"),
        (lambda film: encoded(film.resize((90, 90))), "near"),
        (lambda film: encoded(ImageEnhance.Brightness(film).enhance(0.7)), "near"),
        (lambda film: encoded(ImageEnhance.Contrast(film).enhance(1.2)), "near"),
        (lambda film: encoded(film.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "mirrored"),
    ],
    ids=["copied", "jpeg", "resized", "darker", "contrast", "mirrored"],
)
def test_a_copy_is_found_and_nothing_else(films, change, how):
    facts = [describe_image(encoded(film)) for film in films]
    facts.append(describe_image(change(films[7])))
    (twins,) = find_twins(facts)
    assert (twins.first, twins.second, twins.how) == (7, len(films), how)


def test_blank_films_are_copies_only_if_equal():
    blank = [encoded(Image.new("L", (64, 64), grey)) for grey in (0, 0, 30)]
    (twins,) = find_twins([describe_image(png) for png in blank])
    assert (twins.first, twins.second, twins.how) == (0, 1, "exact")


def test_one_image_has_no_twin(films):
    assert find_twins([describe_image(encoded(films[0]))]) == []

"""Tests of the command that makes the README's picture."""

import cv2
import numpy as np
import pytest
from bone_age_datasets.hand_phantom import picture


def drawn_images(figure):
    return [axes.images[0].get_array() for axes in figure.axes]


def test_one_girl_and_one_boy_at_every_age():
    figure = picture.draw_picture((12.0, 18.0, 150.0), size_px=32, seed=1)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["1 year", "18 months", "150 months", "", "", ""]
    images = drawn_images(figure)
    assert all(image.shape == (32, 32) for image in images)
    again = drawn_images(picture.draw_picture((150.0,), size_px=32, seed=1))
    np.testing.assert_array_equal(images[2], again[0])
    np.testing.assert_array_equal(images[5], again[1])
    assert (images[2] != images[5]).any()
    other = drawn_images(picture.draw_picture((150.0,), size_px=32, seed=2))
    assert (other[0] != again[0]).any()


def test_ages_of_the_readme_run_from_half_a_year_to_eighteen():
    assert picture.AGES_MONTHS[0] == 6 and picture.AGES_MONTHS[-1] == 18 * 12
    texts = [picture._age_text(age) for age in picture.AGES_MONTHS]
    assert texts == ["6 months", "1 year", *(f"{years} years" for years in range(2, 19, 2))]


def test_boxes_are_drawn_when_asked_for():
    plain, boxed = (
        picture.draw_picture((6.0, 120.0), 32, seed=1, boxes=boxes) for boxes in (False, True)
    )
    assert [len(axes.patches) for axes in plain.axes] == [0] * 4
    counts = [len(axes.patches) for axes in boxed.axes]
    assert all(17 - 4 <= count <= 17 + 8 for count in counts)
    assert counts[1] > counts[0] and counts[3] > counts[2]  # carpals have appeared


def test_command_writes_the_file(tmp_path, capsys):
    path = tmp_path / "hands.png"
    picture.main([f"--output={path}", "--ages", "24", "96", "--size_px=48", "--boxes"])
    assert capsys.readouterr().out.strip() == str(path)
    image = cv2.imread(str(path))
    assert image is not None
    assert min(image.shape[:2]) > 2 * 48
    assert image.std() > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "--output"),
        (["--output=x.png", "--ages", "0"], "possible is above 0"),
        (["--output=x.png", "--size_px=8"], "from 32 on"),
        (["--output=x.png", "--seed=-1"], "from 0 on"),
    ],
)
def test_wrong_arguments_are_named(arguments, said, capsys):
    with pytest.raises(SystemExit):
        picture.main(arguments)
    assert said in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        picture.main(["--help"])
    said = capsys.readouterr().out
    assert "examples:" in said and "--boxes" in said

import csv

import pytest

from bone_age_tf.csv_text import format_csv, unescape

ROWS = [["image", "age"], ["=HYPERLINK(1)", "-3.5"], ["+a", -3.5], ["@b", "1e3"], ["-", "a=b"]]


def test_texts_that_look_like_formulas_are_escaped_and_numbers_are_not():
    assert format_csv(ROWS).splitlines() == [
        "image,age",
        "'=HYPERLINK(1),-3.5",
        "'+a,-3.5",
        "'@b,1e3",
        "'-,a=b",
    ]


@pytest.mark.parametrize("cell", ["=1", "+a.png", "plain", "'quoted'", "-"])
def test_a_cell_reads_back(cell):
    ((read,),) = csv.reader(format_csv([[cell]]).splitlines())
    assert unescape(read) == cell

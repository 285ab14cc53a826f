"""Tests of how RSNA's tables are read when other software has written them anew."""

import pytest
from bone_age_datasets.rsna_bone_age import layout

from bone_age_tf.data import rows

TRAIN = layout.SPLITS[0]


@pytest.mark.parametrize(
    "table",
    [
        ",id,boneage,male\n0,1377,12,False\n1,1378,15,True\n",  # with the index of pandas
        "Unnamed: 0,id,boneage,male\n0,1377,12,False\n1,1378,15,True\n",
        "id,boneage,male\n1377.0,12.0,False\n1378.0,15.0,True\n",  # floats of pandas
    ],
)
def test_tables_that_pandas_has_written_are_the_same(table, tmp_path):
    images = {"1377": tmp_path / "1377.png", "1378": tmp_path / "1378.png"}
    read = rows.read_csv(table.encode(), "train.csv")
    good, bad = rows.check_cells(read, TRAIN.columns, images.get, "the folder")
    assert not bad
    assert [(row.image_id, row.sex, row.age_months, row.split) for row in good] == [
        ("1377", 0, 12.0, "train"),
        ("1378", 1, 15.0, "train"),
    ]
    assert [row.source for row in good] == list(images.values())

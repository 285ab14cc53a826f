"""One row a radiograph, whatever is wrong with it."""

import numpy as np
import pytest
from made_archive import BROKEN, broken_files, encoded, hand, write_archive

from bone_age_tf.reader import load
from bone_age_tf.scale import scoring
from bone_age_tf.scale.items import Item, list_items
from bone_age_tf.scale.scoring import Settings, arrow_schema, score, score_item


@pytest.fixture(scope="module")
def settings(exports):
    return Settings("bins", str(exports), quality_check=False)


def test_a_row_is_what_the_reader_reads(settings, exports, tmp_path):
    items = list_items(str(write_archive(tmp_path, 3)))
    reader = load("bins", exports_dir=exports, quality_check=False)
    for item in items:
        row = score_item(item, settings)
        assert list(row) == arrow_schema().names
        result = reader.read(item.location, sex=item.sex)
        if item.sex is None:
            assert row["bone_age_months"] is None and row["sex"] is None
            for sex, prediction in result.by_sex.items():
                assert row[f"bone_age_months_if_{sex}"] == pytest.approx(prediction.age_months)
        else:
            assert row["bone_age_months"] == result.age_months
            assert (row["lower_90"], row["upper_90"]) == result.interval_90_months
            assert row["bone_age_months_if_male"] is None
            assert row["sds_reference"] and np.isfinite(row["sds"])
        assert row["status"] == "ok" and len(row["content_sha256"]) == 64
        assert row["row"] == item.place


def test_broken_files_are_told_apart(root):
    """With the quality check of the shipped exports, as users have it."""
    settings = Settings(exports_dir=str(root / "exports"))
    files = broken_files()
    rows = {
        name: score(Item(place, name, name, sex=0), files[name], settings)
        for place, name in enumerate(BROKEN)
    }
    rows["missing.png"] = score_item(Item(99, "missing.png", "/nowhere/missing.png"), settings)
    assert {row["status"] for row in rows.values()} <= {"failed", "rejected"}
    reasons = {name: row["reason"] for name, row in rows.items()}
    assert all(reasons.values()), reasons
    # Two kinds of damage to a PNG file can have the same words.
    assert len(set(reasons.values())) >= len(reasons) - 1, reasons
    assert not any(scoring.UNEXPECTED in reason for reason in reasons.values())


def test_an_unexpected_error_is_a_row(settings, monkeypatch):
    def fail(*arguments):
        raise ZeroDivisionError("of the test")

    monkeypatch.setattr(type(scoring.reader_of(settings)), "prepare", fail)
    row = score(Item(0, "a.png", "a.png", sex=1), encoded(hand(0)), settings)
    assert row["status"] == "failed"
    assert row["reason"] == f"{scoring.UNEXPECTED}: ZeroDivisionError: of the test"

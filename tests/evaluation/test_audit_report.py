import csv
import io

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.data.audit import HandFacts, Twins, describe_image
from bone_age_tf.evaluation.audit_report import skew, write_audit
from bone_age_tf.evaluation.suspects import Audited, find_suspects

TRAIN, TEST = "trains (train)", "tests (test)"


def described(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return describe_image(buffer.getvalue())


def audited(**changes):
    random = np.random.default_rng(0)
    facts = [described(random.integers(0, 250, (40, 30), np.uint8)) for _ in range(6)]
    ages = np.array([12.0, 30, 60, 90, 120, 150])
    fields = {
        "name": "made_up",
        "image_id": list("abcdef"),
        "part": [TRAIN] * 4 + [TEST] * 2,
        "trains": np.array([True] * 4 + [False] * 2),
        "sex": np.array([0, 1] * 3),
        "age_months": ages,
        "facts": facts,
        "twins": [],
        "rejections": None,
        "poses": None,
        "hands": None,
        "months": None,
        "deviation": None,
    }
    return Audited(**(fields | changes))


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def images():
    return np.zeros((6, 8, 8), np.uint8)


def test_of_copies_the_one_that_trains_is_doubted():
    twins = [Twins(0, 2, "exact", 1.0), Twins(1, 4, "near", 0.99), Twins(4, 5, "exact", 1.0)]
    found = {(one.kind, one.place) for one in find_suspects(audited(twins=twins))}
    assert found == {("duplicate", 2), ("leak", 1), ("duplicate", 5)}
    words = [one.reason for one in find_suspects(audited(twins=twins)) if one.kind == "leak"]
    assert words == [f"nearly the same as e in {TEST}, labelled 30 and 120 months"]


def test_doubted_labels_come_strongest_first():
    months = np.array([[12.0, 100, 60, 200, 120, 150], [1, 2, 3, 4, 5, 6]])
    deviation = np.array([0, 7.0, 3.9, 11, 0, 0])
    found = find_suspects(audited(months=months, deviation=deviation))
    assert [one.place for one in found] == [3, 1]
    assert found[0].reason == (
        "labelled 90 months, predicted 200 by a network that was not trained on it: "
        "11.0 robust SDs; predicted 4 for the other sex"
    )


def test_the_report_names_what_it_found_and_how(tmp_path):
    months = np.array([[12.0, 100, 60, 90, 120, 150]] * 2)
    what = audited(
        months=months,
        deviation=np.array([0, 5.0, 0, 0, 0, 0]),
        twins=[Twins(0, 2, "mirrored", 0.99)],
        rejections=["", "", "", "two hands: the radiograph must show the left hand alone", "", ""],
        poses=["corrected: mirrored horizontally", "", "", "", "", ""],
        hands=[HandFacts(0.7, 0.8)] * 4 + [HandFacts(0.33, 0.8), HandFacts(0.7, 0.2)],
    )
    write_audit(tmp_path, what, images(), "python run.py --mode=audit")
    page = (tmp_path / "audit.md").read_text()
    for words in (
        "python run.py --mode=audit",
        "| label: likely wrong | 1 |",
        "| duplicate: a copy in the same part | 1 |",
        "| rejection: not one whole hand | 1 |",
        "| hand: small, or regions not clearly detected | 2 |",
        "| pose: mirrored, rotated or inverted; corrected before a prediction | 1 |",
        "MAE 17.5 months over the 4 training images",
        "--config.leave_out=FOLDER/suspects.csv",
        "not a medical device",
    ):
        assert words in page
    pictures = {path.name for path in tmp_path.glob("*.png")}
    assert pictures == {
        "ages.png", "images.png", "labels.png", "predictions.png", "rejections.png",
        "duplicates.png", "extremes.png", "hands.png", "poses.png",
    }  # fmt: skip
    assert all(f"]({name})" in page for name in pictures)
    suspects = rows_of(tmp_path / "suspects.csv")
    assert [(row["image_id"], row["kind"]) for row in suspects] == [
        ("c", "duplicate"), ("f", "hand"), ("e", "hand"), ("b", "label"), ("d", "rejection")
    ]  # fmt: skip
    assert suspects[1]["reason"] == "regions not clearly detected: mean score 0.20"
    assert suspects[2]["reason"] == "small hand: its regions span 33% of the longer side"
    remarks = rows_of(tmp_path / "remarks.csv")
    assert [(row["image_id"], row["kind"]) for row in remarks] == [("a", "pose")]
    trust = rows_of(tmp_path / "trust.csv")
    assert [row["image_id"] for row in trust] == list("abcd")  # those that train
    assert [float(row["trust"]) for row in trust] == [1, 0.5, 1, 1]


def test_frames_and_corners_are_remarks():
    framed, cornered = np.full((2, 100, 100), 90, np.uint8)
    framed[:, :30] = 0
    cornered[:20, :20] = 255
    facts = [described(pixels) for pixels in (framed, cornered, np.full((50, 50), 90, np.uint8))]
    found = {one.place: one.reason for one in find_suspects(audited(facts=facts))}
    assert found == {
        0: "black edges cover 30% of the image",
        1: "4% of the pixels are white",
    }


def test_a_report_says_what_was_not_looked_at(tmp_path):
    write_audit(tmp_path, audited(), images(), "python run.py --mode=audit --folds=0")
    page = (tmp_path / "audit.md").read_text()
    assert "none: `--folds=0`" in page
    assert "--mode=train_quality_check" in page
    assert "--mode=train_region_detector" in page
    assert "No image is suspect." in page
    assert not (tmp_path / "trust.csv").exists()


def test_skew_is_fishers():
    assert skew(np.array([1, 2, 3])) == 0
    assert skew(np.array([5, 5, 5])) == 0
    assert skew(np.array([0, 0, 0, 4])) == pytest.approx(2 / 3**0.5)

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import files
from bone_age_tf.evaluation import plots, report
from bone_age_tf.evaluation.metrics import Predictions, evaluate
from bone_age_tf.evaluation.report import write_report

FILES = {
    "metrics.json",
    "predictions.csv",
    "scatter.png",
    "bland_altman.png",
    "error_by_age.png",
    "report.md",
}
DETAILS = {"dataset": "made_up", "split": "validation", "command": "run | tee log\nnext"}


def made_up(count, interval=True):
    random = np.random.default_rng(1)
    age = random.uniform(10, 220, count)
    predicted = age + random.normal(0, 9, count)
    ends = (predicted - 12, predicted + 12.5) if interval else (None, None)
    ids = [f"case_{index}" for index in random.permutation(count)]
    return Predictions(ids, random.integers(0, 2, count), age, predicted, *ends)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "new" / "folder"
    cases = made_up(120)
    metrics = write_report(folder, cases, 120.0, "A | title", DETAILS, seed=7, resamples=200)
    return folder, cases, metrics


def assert_drawn(path):
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("L"))
    assert min(pixels.shape) >= 500
    assert 0.005 < (pixels < 250).mean() < 0.6
    assert len(np.unique(pixels)) > 20


def test_writes_these_files_and_no_temporary_ones(written):
    folder, _, _ = written
    assert {path.name for path in folder.iterdir()} == FILES


def test_metrics_file_is_strict_json_and_what_was_returned(written):
    folder, cases, metrics = written

    def refuse(constant):
        raise AssertionError(constant)

    assert json.loads((folder / "metrics.json").read_text(), parse_constant=refuse) == metrics
    assert metrics == evaluate(cases, 120.0, seed=7, resamples=200)


def test_predictions_file_reads_back_exactly_and_sorted(written):
    folder, cases, metrics = written
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == report.CSV_COLUMNS
    ids = [row["image_id"] for row in rows]
    assert ids == sorted(cases.image_id)
    order = [cases.image_id.index(image_id) for image_id in ids]
    read = {
        name: np.array([float(row[name]) for row in rows])
        for name in ("age_months", "predicted_months", "error_months", "lower_90", "upper_90")
    }
    for name, column in read.items():
        np.testing.assert_array_equal(column, getattr(cases, name)[order])
    sex = [("female", "male").index(row["sex"]) for row in rows]
    del read["error_months"]
    assert evaluate(Predictions(ids, sex, **read), 120.0, seed=7, resamples=200) == metrics


def test_predictions_without_intervals_leave_the_columns_empty(tmp_path):
    write_report(tmp_path, made_up(12, interval=False), 120.0, "t", {}, resamples=10)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert {(row["lower_90"], row["upper_90"]) for row in csv.DictReader(file)} == {("", "")}
    page = (tmp_path / "report.md").read_text()
    assert "90 % interval (months)" not in page
    assert "On these cases (n = 12, bootstrap seed 0)" in page


def test_page_holds_the_numbers(written):
    folder, _, metrics = written
    page = (folder / "report.md").read_text()
    overall, floor = metrics["overall"], metrics["constant_median"]
    mae = overall["mae_months"]
    assert page.startswith("# A \\| title\n")
    assert "On the **validation** split of made_up (n = 120, bootstrap seed 7)" in page
    assert f"**{mae['value']:.2f} months** (95 % interval" in page
    cell = f"{mae['value']:.2f} ({mae['low']:.2f} to {mae['high']:.2f})"
    assert f"| Mean absolute error (months) | {cell} |" in page
    share = overall["within_12_months"]
    assert (
        f"| Within 12 months | {100 * share['value']:.1f} % "
        f"({100 * share['low']:.1f} to {100 * share['high']:.1f} %) |"
    ) in page
    assert f"{floor['ratio']['value']:.2f} ({floor['ratio']['low']:.2f} to" in page
    for name in overall:
        assert report._LABELS[name] in page
    for sex, group in metrics["by_sex"].items():
        assert f"| {sex} | {group['n']} | {group['mae_months']['value']:.2f} (" in page
    for band in metrics["by_age_band"]:
        row = f"| {band['from_months']} to {band['to_months']} | {band['n']} | "
        assert row + f"{band['mae_months']['value']:.2f}" in page
    assert "research software and not a medical device" in page
    assert "| command | run \\| tee log next |" in page
    for name in ("scatter", "bland_altman", "error_by_age"):
        assert f"]({name}.png)" in page


def test_page_lists_the_ten_largest_errors_in_order(written):
    folder, cases, _ = written
    lines = (folder / "report.md").read_text().split("## Largest errors")[1].splitlines()
    listed = [line.split(" | ")[0].removeprefix("| ") for line in lines if "case_" in line]
    largest = np.argsort(-np.abs(cases.error_months))[:10]
    assert listed == [cases.image_id[index] for index in largest]


def test_tables_are_rectangular(written):
    folder, _, _ = written
    for block in (folder / "report.md").read_text().split("\n\n"):
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


@pytest.mark.parametrize("name", sorted(name for name in FILES if name.endswith(".png")))
def test_pictures_open_and_are_drawn(written, name):
    folder, _, _ = written
    assert_drawn(folder / name)


def test_one_case_without_error_still_makes_a_report(tmp_path):
    cases = Predictions(["only"], [1], [100.0], [100.0])
    write_report(tmp_path, cases, 100.0, "One", {})
    page = (tmp_path / "report.md").read_text()
    assert "| Model's error / its error | undefined |" in page
    assert page.count("| only |") == 1
    with Image.open(tmp_path / "bland_altman.png") as image:
        image.verify()


def test_writing_again_replaces_and_a_failure_leaves_the_old_report(tmp_path, monkeypatch):
    write_report(tmp_path, made_up(12), 120.0, "First", {}, resamples=10)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match="constant_months"):
        write_report(tmp_path, made_up(13), float("inf"), "Second", {})

    def full(source, target):
        raise OSError("no space")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(tmp_path, made_up(13), 120.0, "Second", {}, resamples=10)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    monkeypatch.undo()
    write_report(tmp_path, made_up(13), 120.0, "Second", {}, resamples=10)
    assert (tmp_path / "report.md").read_text().startswith("# Second")


def test_pictures_are_the_same_each_time():
    cases = made_up(30)
    assert plots.bland_altman(cases) == plots.bland_altman(cases)


def test_needs_neither_tensorflow_nor_pyplot():
    code = (
        "import sys, bone_age_tf.evaluation.report as _\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'scipy', 'matplotlib.pyplot'}\n"
        "sys.exit(str(sorted(heavy & set(sys.modules))) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_page_lists_each_part_alone(written, tmp_path):
    folder, cases, _ = written
    assert "Each part alone" not in (folder / "report.md").read_text("utf-8")
    parts = {"whole hand": cases.age_months + 10, "DIP2": cases.age_months - 20}
    write_report(
        tmp_path, dataclasses.replace(cases, parts_months=parts), 120.0, "T", {}, resamples=100
    )
    page = (tmp_path / "report.md").read_text("utf-8")
    assert "\n## Each part alone\n" in page
    assert "| whole hand | 10.00 (10.00 to 10.00) | " in page
    assert "| DIP2 | 20.00 (20.00 to 20.00) | " in page

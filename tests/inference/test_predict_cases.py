import csv
import dataclasses
import io
import os
import shutil
import stat

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import cli, files
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.clinical.result_columns import RESULT_COLUMNS
from bone_age_tf.commands import RESEARCH_USE
from bone_age_tf.commands.predict import describe
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.reader import load
from bone_age_tf.reasons import NOT_FRAMED
from bone_age_tf.result_table import ResultTable
from command_words import predict


def save(path, value=100, mode="L", **options):
    """Saves an 8 x 8 image of one grey; the model answers 0.5 value + 10 for a male."""
    colour = value if mode == "L" else (value,) * 3 + (255,) * (mode == "RGBA")
    Image.new(mode, (8, 8), colour).save(path, **options)
    return path


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def read_cases(reader, cases, output=None):
    table = ResultTable.of(reader.read_all(cases))
    if output is not None:
        table.to_csv(output)
    return table


@pytest.fixture
def broken_images(tmp_path):
    """A folder of files that are no images, or not whole, and one that is."""
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    (folder / "cut.png").write_bytes(encoded(Image.fromarray(noise))[:2000])
    (folder / "empty.png").touch()
    (folder / "text.png").write_text("not an image")
    save(folder / "whole.png")
    return folder


def test_both_sexes_and_the_order_of_many_images(bins_reader, tmp_path):
    cases = [
        Case(f"{value}.png", save(tmp_path / f"{value}.png", value), value % 2)
        for value in range(60)
    ]
    summary = read_cases(bins_reader, cases, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert [row["image"] for row in rows] == [case.image for case in cases]
    for value, row in enumerate(rows):
        age = 0.5 * value + 10 * (value % 2)
        assert float(row["bone_age_months"]) == pytest.approx(age, abs=0.051)
        assert float(row["lower_90"]) == pytest.approx(age - 5, abs=0.051)
        assert float(row["upper_90"]) == pytest.approx(age + 7, abs=0.051)
        assert (row["sex"], row["status"], row["reason"]) == (
            ("female", "male")[value % 2],
            "ok",
            "",
        )
    assert (len(summary), summary.failed, summary.errors_months.size) == (60, 0, 0)


def test_table_text(bins_reader, tmp_path):
    read_cases(bins_reader, [Case("a, b.png", save(tmp_path / "a.png"), 1)], tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_bytes() == (
        b"image,sex,bone_age_months,lower_90,upper_90,status,reason,side,sex_source,"
        b"chronological_age_months,sds,sds_reference,assessment,height_cm,adult_height_cm,"
        b"adult_height_error_cm,study_instance_uid,series_instance_uid,sop_instance_uid\n"
        b'"a, b.png",male,60.0,55.0,67.0,ok,,,flag,,,,,,,,,,\n'
    )


@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba", "palette", "jpeg", "sixteen bits"])
def test_every_kind_of_file(bins_reader, tmp_path, kind):
    path = tmp_path / ("hand.jpg" if kind == "jpeg" else "hand.png")
    if kind == "sixteen bits":  # half 0 and half the highest value: a mean of 127.5
        half = np.repeat([[0, 4095]], 8, axis=0).astype(np.uint16).repeat(4, axis=1)
        Image.fromarray(half).save(path)
    elif kind == "palette":
        Image.new("L", (8, 8), 100).convert("P").save(path)
    else:
        save(path, mode={"rgb": "RGB", "rgba": "RGBA"}.get(kind, "L"))
    (result,) = read_cases(bins_reader, [Case("hand", path, 0)])
    expected = 63.75 if kind == "sixteen bits" else 50.0
    assert result.age_months == pytest.approx(expected, abs=0.01)


def test_broken_files_become_rows_and_the_others_go_on(bins_reader, broken_images, tmp_path):
    summary = read_cases(bins_reader, collect_cases(broken_images, "f"), tmp_path / "out.csv")
    cut, empty, text, whole = read(tmp_path / "out.csv")
    assert cut["reason"].startswith("the image is damaged")
    assert empty["reason"] == "the file is empty"
    assert text["reason"] == "not a PNG or JPEG image"
    for row in (cut, empty, text):
        assert (row["status"], row["sex"]) == ("failed", "female")
        assert (row["bone_age_months"], row["lower_90"], row["upper_90"]) == ("", "", "")
    assert (whole["status"], whole["bone_age_months"]) == ("ok", "50.0")
    assert (len(summary), summary.failed) == (4, 3)


def test_answer_that_is_no_number_becomes_a_failed_row(exports, tmp_path):
    reader = load("broken", exports_dir=exports, quality_check=False)
    cases = [Case(str(v), save(tmp_path / f"{v}.png", v), 0) for v in (220, 100)]
    table = read_cases(reader, cases)
    bad = table[0]
    assert (bad.status, bad.prediction) == ("failed", None)
    assert "not a finite number" in bad.note
    assert table.rows()[1][:7] == ("100", "female", "100.0", "", "", "ok", "")


def test_what_is_outside_the_training_distribution_is_rejected(exports, tmp_path):
    reader = load("wary", exports_dir=exports, quality_check=False)
    cases = [Case(str(v), save(tmp_path / f"{v}.png", v), sex) for v, sex in ((90, 0), (150, None))]
    assert [result.status for result in read_cases(reader, cases)] == ["ok"] * 2
    reader.rejects_unfamiliar = True
    summary = read_cases(reader, cases)
    known, strange = summary
    assert known.prediction.unfamiliarity == pytest.approx(0.9)
    assert summary.rows()[1][:6] == ("150", "", "", "", "", "rejected")
    assert "outside the training distribution (distance 1.50, limit 1.00)" in strange.note
    assert (summary.rejected, summary.failed, summary.without_sex) == (1, 0, 0)


def test_a_radiograph_whose_hand_is_not_located_must_be_more_familiar(exports, tmp_path):
    reader = load("wary", exports_dir=exports, quality_check=False)
    reader.rejects_unfamiliar = True
    prepared = reader.prepare(save(tmp_path / "90.png", 90), "female")
    assert reader.predict(prepared).status == "ok"
    whole = reader.predict(dataclasses.replace(prepared, corrections=(NOT_FRAMED,)))
    assert whole.status == "rejected"
    assert "outside the training distribution (distance 0.90, limit 0.67)" in whole.note


def test_missing_sex_gives_both_results(bins_reader, tmp_path):
    summary = read_cases(
        bins_reader, [Case("a.png", save(tmp_path / "a.png"), None, 50.0)], tmp_path / "out.csv"
    )
    reason = "sex not given: result for both sexes"
    assert [list(row.values())[:7] for row in read(tmp_path / "out.csv")] == [
        ["a.png", "female", "50.0", "45.0", "57.0", "ok", reason],
        ["a.png", "male", "60.0", "55.0", "67.0", "ok", reason],
    ]
    assert (len(summary), summary.failed, summary.without_sex) == (1, 0, 1)
    assert summary.errors_months.size == 0


def test_mean_absolute_error_by_hand(bins_reader, tmp_path):
    for value in (100, 120, 200):
        save(tmp_path / f"{value}.png", value)
    (tmp_path / "table.csv").write_text(
        "image,sex,age_months\n"
        "100.png,female,48\n"  # answer 50, error 2
        "120.png,male,83\n"  # answer 70, error 13
        "200.png,male,98\n"  # answer 110, error 12: still close
        "200.png,,10\n"  # no sex: not compared
        "none.png,male,10\n"  # no such file
        "200.png,male,\n"  # no age
        "200.png,boy,10\n"
    )
    summary = read_cases(bins_reader, collect_cases(tmp_path / "table.csv"), None)
    assert (len(summary), summary.failed, summary.without_sex) == (7, 2, 1)
    np.testing.assert_allclose(summary.errors_months, [2, -13, 12], atol=1e-3)
    text = describe(summary)
    assert "7 images: 5 predicted, 2 failed" in text
    assert "none.png: failed: no such file" in text
    assert "200.png: failed: sex is 'boy'; write female or male (f or m)" in text
    assert "1 without a sex: the table has a result for both" in text
    assert "Mean absolute error 9.0 months, 66.7 % within 12 months (n = 3" in text


def test_known_ages_that_look_like_years_are_questioned(bins_reader, tmp_path):
    cases = [
        Case(f"{age}.png", save(tmp_path / f"{age}.png", 20 * age), 0, float(age))
        for age in range(6, 12)
    ]
    question = "WARNING: all ages are at most 11; months are expected. Are they years?"
    assert question in describe(read_cases(bins_reader, cases, None))
    assert "WARNING" not in describe(read_cases(bins_reader, cases[:4], None))
    cases = [
        dataclasses.replace(case, age_months=None, chronological_age_months=case.age_months)
        for case in cases
    ]
    assert f"{question} (chronological_age_months)" in describe(read_cases(bins_reader, cases))


def test_table_is_replaced_as_a_whole(bins_reader, tmp_path, monkeypatch):
    output = tmp_path / "new" / "out.csv"
    cases = [Case("a.png", save(tmp_path / "a.png"), 0)]
    read_cases(bins_reader, cases, output)
    before = output.read_text()

    def fail_fn(*_):
        raise OSError("disk full")

    monkeypatch.setattr(files.os, "replace", fail_fn)
    with pytest.raises(OSError, match="disk full"):
        read_cases(bins_reader, cases * 2, output)
    assert output.read_text() == before
    assert os.listdir(output.parent) == ["out.csv"]


def test_table_can_be_read_by_others(bins_reader, tmp_path):
    previous = os.umask(0o022)
    try:
        read_cases(bins_reader, [Case("a", save(tmp_path / "a.png"), 0)], tmp_path / "out.csv")
    finally:
        os.umask(previous)
    assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == 0o644


def test_command_for_one_image(exports, tmp_path, capsys):
    image, output = save(tmp_path / "hand.png", 255), tmp_path / "predictions.csv"
    assert predict(image, "male", exports, "bins", output=output) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        f"{image}  male  bone age 137.5 months (11 y 6 m), 90 % interval 132.5 to 144.5",
        "Read by bins version 1, float32",
        "Radiographs were not checked: --noquality_check",
        f"Written to {output}",
        RESEARCH_USE,
    ]
    assert "%|" not in printed.err  # no progress bar
    (row,) = read(output)
    assert tuple(row) == RESULT_COLUMNS
    assert row["image"] == str(image)


def test_command_for_one_image_without_a_sex(exports, tmp_path, capsys):
    image = save(tmp_path / "hand.png")
    assert predict(image, None, exports, "bins") == 0
    female, male, hint, *_, last = capsys.readouterr().out.splitlines()
    assert "female  bone age 50.0 months (4 y 2 m)" in female
    assert "male  bone age 60.0 months (5 y 0 m)" in male
    assert hint == "sex not given: result for both sexes; --sex=female or --sex=male selects one"
    assert last == "For research use only; not a medical device."


def test_command_for_one_broken_image(exports, tmp_path, capsys):
    (tmp_path / "hand.png").touch()
    assert predict(tmp_path / "hand.png", "f", exports, "bins") == 1
    assert "hand.png  failed: the file is empty" in capsys.readouterr().out


def test_command_for_a_folder_with_failures(exports, broken_images, tmp_path, capsys):
    output = tmp_path / "out.csv"
    assert predict(broken_images, "f", exports, "bins", output=output) == 1
    printed = capsys.readouterr().out
    assert "4 images: 1 predicted, 3 failed" in printed
    assert f"Written to {output}" in printed
    assert printed.endswith(RESEARCH_USE + "\n")


def test_a_model_without_an_interval_states_none(exports, tmp_path, capsys):
    predict(save(tmp_path / "a.png"), "f", exports, "broken")
    assert "bone age 100.0 months (8 y 4 m)\n" in capsys.readouterr().out


def test_errors_of_the_user_have_code_2_and_no_traceback(exports, tmp_path, capsys):
    image = save(tmp_path / "a.png")
    table = tmp_path / "table.csv"
    table.write_text("image,sex\na.png,f\n")
    attempts = [
        ((tmp_path / "none.png", "f", exports, "bins"), "none.png: no such file or folder"),
        ((image, "boy", exports, "bins"), "--sex: sex is 'boy'"),
        ((image, "f", exports, "vgg"), "exported: bins, broken, regression, wary"),
        ((image, "f", exports, "bins", "fp16"), "no variant 'fp16'"),
        ((image, "f", exports, "bins", "float32", tmp_path), "this is a folder"),
        ((table, "f", exports, "bins", "float32", table), "this is the input"),
        ((image, "f", exports, "bins", "float32", image / "out.csv"), "a.png"),
    ]
    for arguments, message in attempts:
        assert predict(*arguments) == 2
        printed = capsys.readouterr()
        assert printed.err.splitlines()[-1].startswith("error: ")
        assert message in printed.err
        assert "Traceback" not in printed.err
        assert printed.out == ""
    assert table.read_text() == "image,sex\na.png,f\n"


def test_an_older_export_is_refused_with_its_file_and_the_remedy(exports, tmp_path, capsys):
    shutil.copytree(exports / "bins", tmp_path / SHIPPED_MODEL)
    path = tmp_path / SHIPPED_MODEL / "1" / "metadata.json"
    path.write_text(path.read_text().replace('"pad"', '"portrait"'))
    image = save(tmp_path / "hand.png")
    arguments = ["--mode=predict", f"--input={image}", "--sex=male", f"--exports_dir={tmp_path}"]
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: preprocessing.resize is 'portrait'")
    assert line.endswith("bone-age --mode=export --workdir=runs/NAME")

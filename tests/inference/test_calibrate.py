import json
import shutil

import numpy as np
import pytest
from PIL import Image

from bone_age_tf import cli
from bone_age_tf.bundle import Bundle
from bone_age_tf.errors import ModelError
from bone_age_tf.evaluation.site_calibration import read_site_calibration
from command_words import calibrate, predict
from dicom_files import file_bytes


def write_site(folder, shift, cases=60):
    """Images of one grey, which the model reads as 0.5 grey + 10 for a male; readers say more."""
    random = np.random.default_rng(0)
    lines = ["image,sex,age_months"]
    greys = random.permutation(np.arange(40, 250))[:cases]
    for case, grey in enumerate(map(int, greys)):
        male = case % 2
        Image.new("L", (8, 8), grey).save(folder / f"{case}.png")
        age = 0.5 * grey + 10 * male + shift + random.normal(0, 5)
        lines.append(f"{case}.png,{'fm'[male]},{age:.1f}")
    (folder / "site.csv").write_text("\n".join(lines) + "\n")
    return folder / "site.csv"


@pytest.fixture
def calibrated(exports, tmp_path, capsys):
    site = write_site(tmp_path, 12)
    output = tmp_path / "out" / "site.json"
    assert calibrate(site, exports, "bins", output=output) == 0
    return output, capsys.readouterr().out


def test_it_says_what_it_changes_and_writes_it(calibrated):
    output, said = calibrated
    found = read_site_calibration(output)
    assert (found.model, found.version, found.cases) == ("bins", 1, (30, 30))
    np.testing.assert_allclose(found.apply(100.0, np.array([0, 1])), 112, atol=3)
    assert "60 cases used, 0 left out" in said
    overall = next(line for line in said.splitlines() if line.startswith("all"))
    before, bias, after, left = (float(word) for word in overall.split()[2:])
    assert bias == pytest.approx(-12, abs=2)
    assert before > 10 > 6 > after
    assert abs(left) < 1.5
    assert "--calibration=" in said
    assert "not a medical device" in said


def test_a_prediction_takes_it_along(calibrated, exports, tmp_path, capsys):
    output, _ = calibrated
    Image.new("L", (8, 8), 200).save(tmp_path / "hand.png")
    arguments = (tmp_path / "hand.png", "f", exports, "bins")
    assert predict(*arguments, calibration=output) == 0
    shift = float(read_site_calibration(output).apply(100.0, 0)) - 100
    said = capsys.readouterr().out
    assert f"bone age {100 + shift:.1f} months" in said
    bundle, site = Bundle.open(exports / "bins" / "1"), read_site_calibration(output)
    image = np.full((8, 8), 200, np.float32)
    plain, moved = (bundle.predictor(calibration=one).predict(image, 1) for one in (None, site))
    assert moved.age_months == pytest.approx(float(site.apply(plain.age_months, 1)))
    expected = site.apply(np.array(plain.interval_90_months), 1)
    assert moved.interval_90_months == pytest.approx(tuple(expected))


def test_it_is_for_one_export_only(calibrated, exports, tmp_path):
    output, _ = calibrated
    second = shutil.copytree(exports / "bins" / "1", tmp_path / "bins" / "2")
    content = json.loads((second / "metadata.json").read_text())
    (second / "metadata.json").write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(ModelError, match="made for bins version 1, not for bins version 2"):
        Bundle.open(second).predictor(calibration=read_site_calibration(output))
    holding = content | {"site_calibration": {}}
    (second / "metadata.json").write_text(json.dumps(holding))
    with pytest.raises(ModelError, match="give no second one"):
        Bundle.open(second).predictor(calibration=read_site_calibration(output))
    assert calibrate(tmp_path / "site.csv", tmp_path, "bins") == 2


def test_unusable_cases_are_left_out_and_named(exports, tmp_path, capsys):
    site = write_site(tmp_path, 0, cases=6)
    (tmp_path / "broken.png").write_text("no image")
    site.write_text(site.read_text() + "broken.png,f,100\n1.png,,90\n2.png,m,\n3.png,x,90\n")
    assert calibrate(site, exports, "bins", output=tmp_path / "a.json") == 0
    said = capsys.readouterr().out
    assert "6 cases used, 4 left out" in said
    assert "broken.png: " in said
    assert "1.png: no sex or no age_months" in said
    assert "3.png: sex is 'x'" in said
    assert "With this number of cases, ages change by at most" in said


def test_doubts_stop_it_and_can_be_accepted(exports, tmp_path, capsys):
    write_site(tmp_path, 0, cases=40)
    table = tmp_path / "copies.csv"
    table.write_text("image,sex,age_months\n" + "0.png,f,50\n" * 9 + "1.png,m,60\n2.png,f,70\n")
    output = tmp_path / "a.json"
    assert calibrate(table, exports, "bins", output=output) == 2
    said = capsys.readouterr().err
    assert "8 of 11 rows repeat the radiograph of another row" in said
    assert "--accept_doubts" in said
    assert not output.exists()
    assert calibrate(table, exports, "bins", output, accept_doubts=True) == 1
    said = capsys.readouterr().out
    assert "3 cases used, 0 left out, 8 repeated rows not used" in said
    assert "ACCEPTED DOUBT: 8 of 11 rows repeat" in said
    assert read_site_calibration(output).details["doubts"][0].startswith("8 of 11 rows repeat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,sex,age_months\n0.png,f,100\n", "1 cases with a known age and sex"),
        ("image,sex\n0.png,f\n", "0 cases with a known age and sex"),
        ("name\n0.png\n", "no column 'image'"),
    ],
)
def test_what_cannot_be_calibrated_is_told(exports, tmp_path, capsys, text, message):
    site = write_site(tmp_path, 0, cases=2)
    site.write_text(text)
    output = tmp_path / "a.json"
    assert calibrate(site, exports, "bins", output=output) == 2
    assert message in capsys.readouterr().err
    assert not output.exists()


def test_the_command_line_calibrates(exports, tmp_path, capsys):
    site = write_site(tmp_path, 12, cases=40)
    arguments = ["calibrate", str(site), f"--exports_dir={exports}", "--model=none"]
    assert cli.main([*arguments, f"--output={tmp_path / 'a.json'}"]) == 2
    assert "no exported model 'none' (exported: bins" in capsys.readouterr().err
    assert cli.main(["--mode=calibrate"]) == 2
    assert "--mode=calibrate needs --input=CSV" in capsys.readouterr().err
    assert cli.main(["--mode=train", "--calibration=a.json"]) == 2
    assert "no effect on --mode=train" in capsys.readouterr().err


def test_dicom_files_and_their_sexes_are_used(exports, tmp_path, capsys):
    """The same calibration as with PNG files and a table that states the sex."""
    site = write_site(tmp_path, 12)
    with_png = tmp_path / "png.json"
    assert calibrate(site, exports, "bins", output=with_png) == 0
    lines = ["image,age_months"]
    for line in site.read_text().splitlines()[1:]:
        name, sex, age = line.split(",")
        pixels = np.asarray(Image.open(tmp_path / name)).astype(int)
        data = file_bytes(pixels, 8, "RLE", PatientSex=sex.upper())
        (tmp_path / name.removesuffix(".png")).write_bytes(data)
        lines.append(f"{name.removesuffix('.png')},{age}")
    (tmp_path / "ct").write_bytes(file_bytes(pixels, 8, Modality="CT"))
    (tmp_path / "other").write_bytes(file_bytes(pixels, 8, PatientSex="O"))
    (tmp_path / "dicom.csv").write_text("\n".join([*lines, "ct,100", "other,100"]) + "\n")
    capsys.readouterr()
    with_dicom = tmp_path / "dicom.json"
    assert calibrate(tmp_path / "dicom.csv", exports, "bins", output=with_dicom) == 0
    said = capsys.readouterr().out
    assert "60 cases used, 2 left out" in said
    assert "ct: not a radiograph: modality CT" in said and "other: no sex" in said
    found, expected = map(read_site_calibration, (with_dicom, with_png))
    np.testing.assert_allclose(found.offset_months, expected.offset_months)
    np.testing.assert_allclose(found.slope, expected.slope)

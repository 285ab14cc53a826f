"""The whole road, as a user walks it."""

import csv
import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from bone_age_tf import cli
from bone_age_tf import config as configs
from bone_age_tf.bundle import Bundle, load_quality_checker, load_region_detector
from bone_age_tf.evaluation.site_calibration import SiteCalibration, save_site_calibration
from bone_age_tf.images import reading
from bone_age_tf.models.build import build_model
from bone_age_tf.quality import training as quality_training
from bone_age_tf.regions import fit as region_detector
from bone_age_tf.regions import training as region_training

pytestmark = pytest.mark.slow
MODEL = "--model=cnn"
ARGUMENTS = [
    "--dataset=hand_phantom/tiny",
    "--config.image_size_px=32",
    "--config.batch_size=16",
    "--config.epochs=1",
    "--config.stage_scales=()",
    "--config.stage_ends=()",
    "--config.calibration_images=8",
    "--config.parity_images=8",
    "--config.base_filters=8",
    "--workdir=runs/road",
]


def walk(root, place, *arguments):
    return subprocess.run(
        [sys.executable, str(root / "run.py"), *arguments],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )


def test_one_command_does_it_all_and_the_other_modes_go_on_from_there(
    root, tmp_path, monkeypatch, capsys, phantoms, no_saved_model
):
    # As a clone has it
    shutil.copytree(root / "exports" / "film_check", tmp_path / "exports" / "film_check")
    done = walk(root, tmp_path, MODEL, *ARGUMENTS)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for said in ("MAE", "constant", "report.md", "exports/cnn/1", "On 8 held-out images"):
        assert said in done.stdout
    assert not lines_of_libraries(done.stdout + done.stderr)
    check_what_it_left(tmp_path)
    monkeypatch.chdir(tmp_path)  # the commands that follow run in this process

    def call(*arguments):
        status = cli.main(arguments)
        return status, capsys.readouterr()

    check_it_is_not_done_twice(call, tmp_path)
    check_its_export_predicts(call, tmp_path, phantoms)
    check_it_is_exported_for_a_site(call, tmp_path)
    (tmp_path / "runs" / "road").rename(tmp_path / "runs" / "cnn-road")
    assert cli.main(["explain", MODEL, "--count=1", "--methods=cam"]) == 0
    assert "the newest run: runs/cnn-road" in capsys.readouterr().out


def lines_of_libraries(text):
    """The lines that TensorFlow, TFDS, LiteRT and absl have written for themselves."""
    patterns = (
        r"^[IWEF]\d{4} ",
        r"^(INFO|WARNING|ERROR)\b",
        r"absl::InitializeLog|oneDNN custom operations|cuda|XNNPACK|TensorFlow Lite",
        r"Saved artifact|Assets written|Downloading and preparing|downloaded and prepared",
        r"Generating|Shuffling|examples/s|splits/s|it/s\]",
        r"Estimated count of arithmetic ops|\.py:\d+: \w*Warning",
    )
    return [line for line in text.splitlines() if re.search("|".join(patterns), line)]


def check_what_it_left(place):
    run = place / "runs" / "road"
    for name in (
        "config.json",
        "log.csv",
        "checkpoints/best.keras",
        "evaluation/metrics.json",
        "evaluation/predictions.csv",
        "evaluation/report.md",
        "explanations/index.html",
    ):
        assert (run / name).exists(), name
    pictures = json.loads((run / "explanations" / "cases.json").read_text())
    assert len(pictures) == 8
    assert all((run / "explanations" / name).exists() for name in pictures)
    version = place / "exports" / "cnn" / "1"
    for name in (
        "saved_model.pb",
        "model_float32.tflite",
        "model_int8.tflite",
        "metadata.json",
    ):
        assert (version / name).exists(), name
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text())
    assert metrics["n"] == 16
    interval = json.loads((run / "evaluation" / "interval_by_age.json").read_text())
    assert interval["cases"] == 16
    assert json.loads((version / "metadata.json").read_text())["interval"] == interval


def check_it_is_not_done_twice(call, place):
    status, printed = call(MODEL, *ARGUMENTS)
    assert status == 0
    assert "is finished and stays as it is" in printed.out
    assert not (place / "exports" / "cnn" / "2").exists()
    status, printed = call(MODEL, *ARGUMENTS, "--config.epochs=9")
    assert status == 2
    assert "epochs: 1 in the run, 9 asked for" in printed.err


def check_its_export_predicts(call, place, phantoms):
    hand = phantoms.as_dataset(split="test").take(1).as_numpy_iterator()
    Image.fromarray(next(iter(hand))["image"][..., 0]).save(place / "hand.png")
    status, printed = call("predict", "hand.png", MODEL, "--sex=female")
    assert status == 0, printed.err
    assert "bone age" in printed.out
    (place / "cases.csv").write_text("image,sex,age_months\nhand.png,m,100\nmissing.png,f,90\n")
    status, printed = call("predict", "cases.csv", MODEL, "--variant=int8")
    assert status == 1
    assert "Mean absolute error" in printed.out
    with (place / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["status"] for row in rows] == ["ok", "failed"]
    assert "no such file" in rows[1]["reason"]


def check_it_is_exported_for_a_site(call, place):
    export = ["export", MODEL, "--workdir=runs/road", "--calibration=site.json"]
    export.append("--formats=float32")
    site = SiteCalibration((20.0, 20.0), (1.0, 1.0), "cnn", 9, (30, 30))
    save_site_calibration(site, place / "site.json")
    status, printed = call(*export)
    assert status == 2
    message = "made for cnn version 9; the export of runs/road is cnn version 1"
    assert message in printed.err
    save_site_calibration(dataclasses.replace(site, version=1), place / "site.json")
    status, printed = call(*export)
    assert status == 0, printed.err
    image = reading.read_radiograph(place / "hand.png")
    bundles = [Bundle.open(place / "exports/cnn" / version) for version in "12"]
    assert bundles[1].site_calibrated
    predictors = [bundle.predictor("float32") for bundle in bundles]
    before, after = (one.predict(one.fit_image(image), 0).age_months for one in predictors)
    assert after == pytest.approx(min(before + 20, 240), abs=0.05)
    assert "cnn/1" in (place / "runs/road/export.json").read_text()
    shutil.rmtree(place / "exports/cnn/2")


def test_the_film_check_is_trained_and_used(beside_phantoms, monkeypatch, capsys, eager):
    monkeypatch.setattr(quality_training, "STEPS", 2)
    monkeypatch.setattr(quality_training, "TESTS", 200)
    assert cli.main(["--mode=train_quality_check", "--dataset=hand_phantom/tiny"]) == 0
    printed = capsys.readouterr().out
    assert "quality check on hand_phantom/tiny/" in printed
    assert "export: exports/film_check/1" in printed
    metadata = json.loads((beside_phantoms / "exports/film_check/1/metadata.json").read_text())
    assert metadata["data"]["train_images"] == 48
    assert load_quality_checker("exports") is not None
    assert cli.main(["--mode=train_film_check", "--config.epochs=2"]) == 2  # the former name
    assert "no effect on --mode=train_quality_check" in capsys.readouterr().err


def test_the_region_detector_is_trained_and_used(beside_phantoms, monkeypatch, capsys, eager):
    monkeypatch.setattr(region_training, "STEPS", (2, 0, 0))
    monkeypatch.setattr(region_detector, "BATCH", 4)
    assert cli.main(["--mode=train_region_detector", "--dataset=hand_phantom/tiny"]) == 0
    printed = capsys.readouterr().out
    assert "48 phantoms, 0 annotated and 0 labelled images" in printed
    assert "mAP@.5" in printed
    assert "export: exports/region_detector/1" in printed
    metadata = json.loads((beside_phantoms / "exports/region_detector/1/metadata.json").read_text())
    assert metadata["figures"]["hand_phantom/tiny/2.1.0"]["images"] == 16
    assert load_region_detector("exports") is not None


def test_a_transfer_check_says_which_start_won(beside_phantoms, capsys, eager):
    arguments = ["--mode=transfer_check", "--model=cnn", *ARGUMENTS]
    arguments.append("--config.augmentation.policy=none")
    assert cli.main(arguments) == 2
    assert "needs a source, such as --config.init=imagenet" in capsys.readouterr().err
    config = configs.load_config("cnn", "hand_phantom", [("base_filters", "8")])
    build_model(config).save(beside_phantoms / "source.keras")
    arguments += ["--config.init=source.keras", "--config.early_rate=0.1"]
    assert cli.main(arguments) == 0
    assert "first weights from source.keras: loaded" in capsys.readouterr().out
    check = beside_phantoms / "runs" / "road"
    found = json.loads((check / "transfer.json").read_text())
    assert found["n"] == 16
    assert found["better"] in ("first", "second", "neither")
    assert f"{found['second_mae_months']:.2f}" in (check / "transfer.md").read_text()
    saved = [
        json.loads((check / start / "config.json").read_text()) for start in ("random", "source")
    ]
    assert {key for key in saved[0] if saved[0][key] != saved[1][key]} == {"init", "early_rate"}


def test_a_process_that_is_killed_goes_on(root, tmp_path, phantoms):
    """With a real signal, in the middle of an epoch, on the model that tests can afford."""
    code = (
        f"import sys; sys.path.insert(0, {str(root / 'tests')!r}); from pathlib import Path\n"
        "from bone_age_tf import config as configs\n"
        "from bone_age_tf.data import pipeline\n"
        "from bone_age_tf.models.catalog import MODELS\n"
        "from bone_age_tf.prepare import prepare_dataset\n"
        "from bone_age_tf.data.prepared import PreparedData\n"
        "from bone_age_tf.training import fit as fitting\n"
        "MODELS['tiny'] = 'tiny_network'\n"
        "config = configs.base_config(); config.model = 'tiny'\n"
        "config.image_size_px, config.batch_size, config.epochs = 32, 4, int(sys.argv[1])\n"
        "config.augmentation.policy = 'none'\n"
        "builder = prepare_dataset('hand_phantom/tiny', Path(sys.argv[2]), None)\n"
        "parts = pipeline.choose_parts(list(builder.info.splits), 0.1, True)\n"
        "fitting.fit(config, PreparedData(builder, parts), Path('run'), 0)\n"
    )
    # Long enough to be killed on the way; the schedule is the same when it goes on.
    command = [sys.executable, "-c", code, "400", phantoms.data_path.parents[2]]
    process = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(folder.glob("step-*.h5")) and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = max(int(path.name[5:13]) for path in folder.glob("step-*.h5"))
    assert 0 < done < 4800
    going = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert going.stdout is not None
    said = next(line for line in going.stdout if line.startswith("resuming"))
    going.kill()
    going.wait()
    assert said.strip() == f"resuming after step {done} of 4800"

"""The reader that users call from Python, on real radiograph files' kinds of input."""

import concurrent.futures
import io
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import bone_age_tf as ba
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.errors import CalibrationError, InputError, ModelError
from bone_age_tf.evaluation.site_calibration import SiteCalibration, save_site_calibration


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def reader(root):
    return ba.load(exports_dir=root / "exports")


@pytest.fixture(scope="module")
def hands():
    """Drawn hands, uint8, with grain so that margins are not cropped."""
    from bone_age_tf.prepare import draw_radiographs

    grain = np.random.default_rng(0).normal(0, 5, (320, 320))
    films = draw_radiographs((60.0, 100.0, 140.0, 180.0), 320, seed=3)
    pixels = [np.asarray(Image.open(io.BytesIO(film)), float) for film in films]
    return [np.clip(np.rint(hand + grain), 0, 255).astype(np.uint8) for hand in pixels]


def test_a_path_bytes_an_array_and_a_radiograph_give_one_result(reader, hands, tmp_path):
    path = tmp_path / "hand.png"
    path.write_bytes(png(hands[1]))
    opened = ba.Radiograph.open(path, "female")
    sources = [path, str(path), path.read_bytes(), hands[1], hands[1][..., None], opened]
    sources.append(hands[1].astype(np.float64))
    results = [reader.read(source, sex="female") for source in sources]
    assert len({result.age_months for result in results}) == 1
    first = results[0]
    assert (first.status, first.reasons, first.corrections) == ("ok", (), ())
    lower, upper = first.interval_90_months
    assert lower < first.age_months < upper
    assert first.distribution.sum() == pytest.approx(1, abs=1e-4)
    assert first.quality_checked and first.model == reader.model
    assert (first.source, results[2].source, results[5].source) == (str(path), "array", str(path))


def test_without_a_sex_there_is_a_prediction_for_each(reader, hands):
    result = reader.read(hands[2])
    assert list(result.by_sex) == ["female", "male"]
    assert result.age_months is None and result.interval_90_months is None
    for sex, prediction in result.by_sex.items():
        assert prediction.age_months == reader.read(hands[2], sex).age_months
    assert reader.read(ba.Radiograph(hands[2].astype(np.float32), sex="m")).sex == "male"


def test_what_is_corrected_is_reported_and_gives_the_same_age(reader, hands):
    whole = reader.read(hands[2], "m")
    flipped = reader.read(np.ascontiguousarray(hands[2][::-1, ::-1]), "m")
    assert flipped.corrections == ("rotated 180°",)
    # The hand is found anew in the rotated image, and its frame is interpolated.
    assert flipped.age_months == pytest.approx(whole.age_months, abs=0.5)
    assert flipped.note == "corrected: rotated 180°"


def test_what_is_no_hand_is_rejected_unless_the_check_is_switched_off(reader, root):
    noise = np.random.default_rng(0).integers(0, 256, (300, 240), dtype=np.uint8)
    result = reader.read(noise, "f")
    assert (result.status, result.age_months, result.by_sex) == ("rejected", None, {})
    assert result.reasons and result.quality_checked
    trusting = ba.load(exports_dir=root / "exports", quality_check=False).read(noise, "f")
    assert trusting.status == "ok" and trusting.age_months > 0
    assert not trusting.quality_checked


def test_files_that_cannot_be_read_are_results(reader, tmp_path):
    (tmp_path / "empty.png").touch()
    missing = reader.read(tmp_path / "none.png", "f")
    assert (missing.status, missing.reasons) == ("failed", ("no such file",))
    assert not missing.quality_checked
    assert reader.read(tmp_path / "empty.png").reasons == ("the file is empty",)
    assert reader.read(b"text").reasons == ("not a PNG or JPEG image",)


@pytest.mark.parametrize(
    ("source", "sex", "message"),
    [
        (np.zeros((4, 4, 2)), "f", r"shape \(4, 4, 2\); give \[H, W\]"),
        (np.full((80, 80), 300.0), "f", "values from 300 to 300"),
        (np.full((80, 80), np.nan), "f", "not finite numbers"),
        (np.full((80, 80), -1, np.int16), "f", "negative values"),
        (np.zeros((80, 80)), "boy", "sex is 'boy'"),
        (np.zeros((80, 80)), 2, "sex is 2"),
        (3.5, "f", "a float is no radiograph"),
    ],
)
def test_wrong_use_names_the_value(reader, source, sex, message):
    with pytest.raises(InputError, match=message):
        reader.read(source, sex)


def test_sixteen_bit_arrays_are_scaled_as_files_are(reader, hands):
    wide = hands[0].astype(np.uint16) * 16
    buffer = io.BytesIO()
    Image.fromarray(wide).save(buffer, "PNG")
    from_file = reader.read(buffer.getvalue(), "f").age_months
    assert reader.read(wide, "f").age_months == pytest.approx(from_file, abs=1e-3)


def test_sixteen_threads_give_the_sequential_results(reader, hands):
    sources = [(hand, sex) for hand in hands for sex in ("female", "male")] * 4
    expected = [reader.read(*source).age_months for source in sources]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda source: reader.read(*source).age_months, sources))
    assert found == pytest.approx(expected, abs=1e-4)
    assert len(set(expected)) == 8


def test_a_table_keeps_the_order_and_becomes_csv_and_a_data_frame(reader, hands, tmp_path, capsys):
    for place, hand in enumerate(hands):
        (tmp_path / f"{place}.png").write_bytes(png(hand))
    lines = [f"{place}.png,{'fm'[place % 2]},100" for place in (2, 0, 3)]
    (tmp_path / "cases.csv").write_text("\n".join(["image,sex,age_months", *lines]))
    table = reader.read_table(tmp_path / "cases.csv")
    assert [result.source for result in table] == ["2.png", "0.png", "3.png"]
    assert table.errors_months.shape == (3,)
    table.to_csv(tmp_path / "out.csv")
    frame = table.to_pandas()
    assert list(frame.columns) == (tmp_path / "out.csv").read_text().splitlines()[0].split(",")
    assert frame["bone_age_months"].dtype == float
    assert frame["bone_age_months"][0] == pytest.approx(table[0].age_months, abs=0.051)
    mixed = reader.read_table([hands[0], ba.Radiograph(hands[1], sex="m")], "f", progress=False)
    assert [result.sex for result in mixed] == ["female", "male"]
    assert mixed.without_sex == mixed.failed == mixed.rejected == 0


def test_models_are_named_by_name_version_or_folder(root, tmp_path):
    exports = root / "exports"
    (version,) = ba.list_exports(exports)[SHIPPED_MODEL]
    by_folder = ba.load(exports / SHIPPED_MODEL / str(version))
    assert by_folder.model == ba.load(SHIPPED_MODEL, version=version).model
    with pytest.raises(ModelError, match="no version 99 of"):
        ba.load(version=99, exports_dir=exports)
    with pytest.raises(ModelError, match="no variant 'int4'"):
        ba.load(variant="int4", exports_dir=exports)
    with pytest.raises(ModelError, match="no exported model 'resnet5'"):
        ba.load("resnet5")
    with pytest.raises(CalibrationError):
        ba.load(calibration=tmp_path / "none.json")


def test_an_export_of_ones_own_does_not_replace_the_shipped_model(root, tmp_path, monkeypatch):
    shipped = root / "exports" / SHIPPED_MODEL
    own = tmp_path / "exports" / "resnet18" / "1"
    shutil.copytree(next(shipped.glob("[0-9]*")), own)
    metadata = json.loads((own / "metadata.json").read_text()) | {"name": "resnet18", "version": 1}
    (own / "metadata.json").write_text(json.dumps(metadata))
    monkeypatch.chdir(tmp_path)
    assert ba.load().bundle.name == SHIPPED_MODEL
    assert ba.load("resnet18").bundle.name == "resnet18"
    assert ba.load(exports_dir="exports").bundle.name == "resnet18"


def test_a_calibration_moves_the_predictions(reader, hands, root, tmp_path):
    bundle = reader.bundle
    site = SiteCalibration((5.0, 7.0), (1.0, 1.0), bundle.name, bundle.version, (30, 30))
    save_site_calibration(site, tmp_path / "site.json")
    moved = ba.load(exports_dir=root / "exports", calibration=tmp_path / "site.json")
    ages = [one.read(hands[1], "male").age_months for one in (reader, moved)]
    assert ages[1] - ages[0] == pytest.approx(7, abs=1e-3)


def test_importing_the_package_imports_nothing_heavy(root):
    code = (
        "import sys; import bone_age_tf as ba; names = dir(ba); "
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules], len(names)); "
        "[getattr(ba, name) for name in names if name not in ('Run',)]; "
        "print([m for m in ('tensorflow', 'keras') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"[] {len(ba.__all__)}", "[]"]
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ba.nothing


@pytest.mark.slow
def test_training_from_python(beside_phantoms, no_saved_model, eager):
    config = ba.get_config(
        "cnn", epochs=1, image_size_px=32, base_filters=8, batch_size=16, stage_scales=(),
        stage_ends=(), calibration_images=8, parity_images=8, augmentation__policy="none",
    )  # fmt: skip
    run = ba.train(config, "runs/x", dataset="hand_phantom/tiny", distribution="mirrored")
    assert run.evaluate()["n"] == 16
    exported = run.export(["float32"], quality_check=False)
    assert exported["folder"] == "exports/cnn/1"
    assert len(run.explain(count=2)) == 2
    result = ba.load("cnn", quality_check=False).read(np.full((64, 64), 90, np.uint8), "f")
    assert result.status == "ok"
    with pytest.raises(ba.BoneAgeError, match="use the command, bone-age train"):
        ba.train(config, "runs/y", distribution="multiworker")
    with pytest.raises(ba.BoneAgeError, match="mirrored"):
        ba.train(config, "runs/y", distribution="mirored")
    with pytest.raises(ba.BoneAgeError, match="unknown config key 'epoch'"):
        ba.get_config("cnn", epoch=1)
    model = ba.build_model("cnn", image_size_px=48, base_filters=8)
    assert model.input["image"].shape[1:] in ((48, 48, 1), (None, None, 1))

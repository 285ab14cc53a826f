import csv
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import openpyxl
import pytest
import tensorflow_datasets as tfds
from bone_age_datasets.rsna_bone_age import rsna_bone_age_dataset_builder
from PIL import Image

from bone_age_tf import schema
from bone_age_tf.data import rows

TRAIN = "boneage-training-dataset"
VALIDATION = "boneage-validation-dataset"
TRUTH = "Case ID,Sex,Ground truth bone age (months)\n4360,M,168.93\n4361,F,40\n"


class RsnaBoneAgeTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = rsna_bone_age_dataset_builder.Builder
    SPLITS = {"train": 4, "validation": 2, "test": 1}  # noqa: RUF012


def pixels(image_id, height=10, width=8):
    return np.random.default_rng(int(image_id)).integers(0, 256, (height, width), np.uint8)


def write_images(folder, ids, height=10, width=8):
    folder.mkdir(parents=True, exist_ok=True)
    for image_id in ids:
        Image.fromarray(pixels(image_id, height, width)).save(folder / f"{image_id}.png")


def write_train(root, ids=(1377, 1378, 1379)):
    write_images(root / TRAIN, ids)
    lines = [f"{image_id},{12 + 3 * n},{bool(n % 2)}" for n, image_id in enumerate(ids)]
    (root / f"{TRAIN}.csv").write_text("\n".join(["id,boneage,male", *lines]) + "\n")


def write_validation(root, folder=VALIDATION):
    write_images(root / folder, (1386, 1392))
    (root / "Validation Dataset.csv").write_bytes(
        b"\xef\xbb\xbfimage id ,Male,Bone Age (months) \r\n1386,FALSE,30\r\n1392,TRUE,162"
    )


def pack(folder, archive=None, prefix=None):
    """Replaces a folder by an archive."""
    archive = archive or folder.with_name(f"{folder.name}.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__MACOSX/._1377.png", b"not an image")
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder)
                file.write(path, name if prefix is None else Path(prefix, name))
    shutil.rmtree(folder)


def write_xlsx(path):
    book = openpyxl.Workbook()
    for line in (
        ("Case ID", "Sex", "Ground truth bone age (months)"),
        (4360, "M", 168.93),
        (4361, "F", 40),
        (None, None, None),
    ):
        book.active.append(line)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)


def prepare(root, data_dir, config="px256", **options):
    builder = rsna_bone_age_dataset_builder.Builder(data_dir=data_dir, config=config, **options)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=root, compute_stats=tfds.download.ComputeStatsMode.SKIP
        )
    )
    return builder


def examples(builder, split):
    found = tfds.as_numpy(builder.as_dataset(split=split))
    return {example[schema.IMAGE_ID].decode(): example for example in found}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "manual"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("layout", ["folder", "nested", "zip", "zip_nested", "zip_flat", "part"])
def test_train_layouts(root, tmp_path, layout):
    write_train(root)
    if layout == "nested":
        shutil.move(root / TRAIN, root / "x")
        (root / TRAIN).mkdir()
        shutil.move(root / "x", root / TRAIN / TRAIN)
        (root / f"{TRAIN}.csv").rename(root / "train.csv")
    elif layout == "part":
        part = root / "Bone Age Training Set"
        part.mkdir()
        pack(root / TRAIN)
        shutil.move(root / f"{TRAIN}.zip", part)
        shutil.move(root / f"{TRAIN}.csv", part / "train.csv")
    elif layout != "folder":
        prefix = {"zip": TRAIN, "zip_nested": f"{TRAIN}/{TRAIN}", "zip_flat": "."}[layout]
        pack(root / TRAIN, prefix=prefix)
    builder = prepare(root, tmp_path / "data")
    found = examples(builder, "train")
    assert list(builder.info.splits) == ["train"]
    assert sorted(found) == ["1377", "1378", "1379"]
    assert [found[name][schema.AGE_MONTHS] for name in sorted(found)] == [12, 15, 18]
    assert [found[name][schema.SEX] for name in sorted(found)] == [0, 1, 0]
    assert all(np.isnan(example[schema.CHRONOLOGICAL_AGE_MONTHS]) for example in found.values())
    for name, example in found.items():
        np.testing.assert_array_equal(example[schema.IMAGE][..., 0], pixels(name))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_jpeg_images_in_rsnas_layout(root, tmp_path, suffix):
    write_train(root, (1377, 1378))
    smooth = np.linspace(0, 250, 30 * 20).reshape(30, 20).astype(np.uint8)
    (root / TRAIN / "1378.png").unlink()
    Image.fromarray(smooth).save(root / TRAIN / f"1378{suffix}", "JPEG", quality=95)
    pack(root / TRAIN, prefix=TRAIN)
    found = examples(prepare(root, tmp_path / "data", "px512"), "train")
    assert found.keys() == {"1377", "1378"}
    np.testing.assert_allclose(found["1378"][schema.IMAGE][..., 0], smooth, atol=6)


@pytest.mark.parametrize("layout", ["folder", "zip", "parts", "zip_parts", "part"])
def test_validation_layouts(root, tmp_path, layout):
    write_train(root)
    write_validation(root)
    if layout in ("parts", "zip_parts"):
        for number, image_id in enumerate((1386, 1392), 1):
            write_images(root / f"{VALIDATION}-{number}", (image_id,))
            if layout == "zip_parts":
                folder = root / f"{VALIDATION}-{number}"
                pack(folder, prefix=folder.name)
        shutil.rmtree(root / VALIDATION)
    elif layout == "zip":
        pack(root / VALIDATION, prefix=VALIDATION)
    elif layout == "part":
        part = root / "Bone Age Validation Set"
        part.mkdir()
        shutil.move(root / VALIDATION, part)
        shutil.move(root / "Validation Dataset.csv", part)
    builder = prepare(root, tmp_path / "data")
    found = examples(builder, "validation")
    assert {k: (e[schema.SEX], e[schema.AGE_MONTHS]) for k, e in found.items()} == {
        "1386": (schema.FEMALE, 30),
        "1392": (schema.MALE, 162),
    }
    np.testing.assert_array_equal(found["1386"][schema.IMAGE][..., 0], pixels(1386))


@pytest.mark.parametrize("table", ["csv", "xlsx"])
@pytest.mark.parametrize(
    "layout", ["folder", "kaggle", "zip", "rsna", "rsna_images_zip", "rsna_zip"]
)
def test_test_layouts(root, tmp_path, layout, table):
    write_train(root)
    inside = root / "Bone Age Test Set"
    images = {
        "folder": root / "boneage-test-dataset",
        "kaggle": root / "boneage-test-dataset" / "boneage-test-dataset",
        "zip": root / "boneage-test-dataset",
    }.get(layout, inside / "Test Set Images")
    write_images(images, (4360, 4361))
    truth = (inside if layout.startswith("rsna") else root) / f"Bone age ground truth.{table}"
    if table == "xlsx":
        write_xlsx(truth)
    else:
        truth.write_text(TRUTH)
    if layout in ("zip", "rsna_images_zip"):
        pack(images)
    elif layout == "rsna_zip":
        pack(inside, prefix=inside.name)
    found = examples(prepare(root, tmp_path / "data"), "test")
    assert {k: (e[schema.SEX], float(e[schema.AGE_MONTHS])) for k, e in found.items()} == {
        "4360": (schema.MALE, pytest.approx(168.93)),
        "4361": (schema.FEMALE, 40),
    }


def test_says_what_is_partial_left_out_and_unused(root, tmp_path, capsys):
    write_train(root)
    write_validation(root)
    (root / "Validation Dataset.csv").unlink()
    write_images(root / TRAIN, (12,))  # 12 is also an age in the table
    builder = prepare(root, tmp_path / "data")
    said = capsys.readouterr().err
    assert "train: 3 of 12,611 published images: a partial copy" in said
    assert "validation: left out: no table (Validation Dataset.csv) in the manual" in said
    assert "test: left out: no images (boneage-test-dataset[.zip] or " in said
    assert f"train: 1 images of {TRAIN} have no row in {TRAIN}.csv and are unused" in said
    assert all(note in said for note in builder.notes)
    again = rsna_bone_age_dataset_builder.Builder(data_dir=tmp_path / "data")
    assert again.info.metadata["notes"] == builder.notes
    assert again.info.metadata["skipped_rows"] == 0


def test_missing_train_gives_the_instructions(root, tmp_path):
    write_validation(root)
    with pytest.raises(FileNotFoundError) as error:
        prepare(root, tmp_path / "data")
    message = str(error.value)
    assert f"no images ({TRAIN}[.zip]) and no table ({TRAIN}.csv or train.csv)" in message
    assert rsna_bone_age_dataset_builder.Builder.MANUAL_DOWNLOAD_INSTRUCTIONS in message


@pytest.mark.parametrize("exists", [True, False])
def test_missing_manual_folder_gives_the_instructions(root, tmp_path, exists):
    with pytest.raises(FileNotFoundError, match=r"boneage-training-dataset\.zip"):
        prepare(root if exists else root / "none", tmp_path / "data")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("9,180,False", f"no image '9' in {TRAIN}"),
        ("13777,180,False", f"no image '13777' in {TRAIN}; did you mean '1377'?"),
        ("1378,0,False", "age is 0 months; possible is above 0 and up to 240 months"),
        ("1378,241,False", "age is 241 months"),
        ("1378,nan,False", "age is nan months"),
        ("1378,,False", "age is ''; write a number of months"),
        ("1378,180,yes", "male is 'yes'; write True or False"),
        ("1377,180,False", "id '1377' repeats line 2"),
        (",180,False", "the image has no name"),
        ("1378,0,x", "male is 'x'; write True or False; age is 0"),
        ("1378,180,False,7", "4 cells under 3 columns"),
    ],
)
def test_bad_row_stops(root, tmp_path, line, reason):
    write_train(root, (1377, 1378))
    (root / f"{TRAIN}.csv").write_text(f"id,boneage,male\n1377,12,True\n\n{line}\n")
    with pytest.raises(rows.BadRowsError) as error:
        prepare(root, tmp_path / "data")
    message = str(error.value)
    assert message.startswith("1 row cannot be used:\n")
    assert f"{TRAIN}.csv:4: {reason}" in message
    assert "--skip_bad_rows" in message
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: data[: len(data) // 2], "image '1378': the image is damaged"),
        (lambda data: b"", "image '1378': the file is empty"),
        (lambda data: b"GIF89a", "image '1378': not a PNG or JPEG image"),
    ],
)
def test_undecodable_image_stops(root, tmp_path, damage, reason, packed):
    write_train(root)
    path = root / TRAIN / "1378.png"
    path.write_bytes(damage(path.read_bytes()))
    if packed:
        pack(root / TRAIN)
    with pytest.raises(rows.BadRowsError) as error:
        prepare(root, tmp_path / "data")
    assert f"{TRAIN}.csv:3: {reason}" in str(error.value)


def test_damaged_archive_member_stops(root, tmp_path):
    write_train(root)
    data = (root / TRAIN / "1378.png").read_bytes()
    pack(root / TRAIN)
    archive = root / f"{TRAIN}.zip"
    archive.write_bytes(archive.read_bytes().replace(data, bytes(len(data))))
    with pytest.raises(rows.BadRowsError, match=r"image '1378': cannot be read .*damaged"):
        prepare(root, tmp_path / "data")


def test_damaged_archive_is_named(root, tmp_path):
    write_train(root)
    pack(root / TRAIN)
    (root / f"{TRAIN}.zip").write_bytes(b"half a download")
    with pytest.raises(ValueError, match=rf"{TRAIN}\.zip: cannot be opened.*download it again"):
        prepare(root, tmp_path / "data")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"id,age,male\n1377,12,True\n", "no column 'boneage'; its columns are: id, age, male"),
        (b"id,boneage,male\n", "the table has no rows"),
        (b"id,boneage,male\n1377,12,\xff\n", "not UTF-8 text"),
        (b"id,male,male,boneage\n1,2,3,4\n", "columns repeat: male"),
    ],
)
def test_unreadable_table_is_named(root, tmp_path, text, message):
    write_train(root)
    (root / f"{TRAIN}.csv").write_bytes(text)
    with pytest.raises(ValueError, match=message) as error:
        prepare(root, tmp_path / "data")
    assert str(error.value).startswith(f"{TRAIN}.csv: ")


def test_damaged_xlsx_is_named(root, tmp_path):
    write_train(root)
    write_images(root / "boneage-test-dataset", (4360,))
    (root / "Bone age ground truth.xlsx").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"ground truth\.xlsx: not an Excel table"):
        prepare(root, tmp_path / "data")


def test_lists_ten_and_counts_all_splits(root, tmp_path):
    write_train(root, range(100, 120))
    write_validation(root)
    (root / VALIDATION / "1392.png").unlink()
    for image_id in range(103, 115):
        (root / TRAIN / f"{image_id}.png").unlink()
    (root / TRAIN / "101.png").write_bytes(b"text")
    with pytest.raises(rows.BadRowsError) as error:
        prepare(root, tmp_path / "data")
    lines = str(error.value).splitlines()
    assert lines[0] == "14 rows cannot be used:"
    assert lines[1] == f"  {TRAIN}.csv:3: image '101': not a PNG or JPEG image"
    assert [line.split(":")[1] for line in lines[2:11]] == [str(n) for n in range(5, 14)]
    assert lines[11] == "  and 4 more"
    assert len(error.value.problems) == 14
    assert str(error.value.problems[-1]).startswith("Validation Dataset.csv:3: no image '1392'")


@pytest.mark.parametrize("elsewhere", [None, "elsewhere.csv", "folder"])
def test_skips_on_request_and_lists(root, tmp_path, capsys, elsewhere):
    write_train(root)
    (root / TRAIN / "1378.png").write_bytes(b"text")
    with (root / f"{TRAIN}.csv").open("a") as file:
        file.write("1380,12,True\n")
    (tmp_path / "folder").mkdir()
    skipped = elsewhere and tmp_path / elsewhere
    builder = prepare(root, tmp_path / "data", skip_bad_rows=True, skipped_csv=skipped)
    path = {
        None: tmp_path / "data" / "rsna_bone_age" / "skipped.csv",
        "elsewhere.csv": tmp_path / "elsewhere.csv",
        "folder": tmp_path / "folder" / "skipped.csv",
    }[elsewhere]
    with path.open(newline="") as file:
        listed = list(csv.reader(file))
    table = f"{TRAIN}.csv"
    assert listed == [
        ["file", "line", "image", "reason"],
        [table, "3", "1378", "image '1378': not a PNG or JPEG image"],
        [table, "5", "1380", f"no image '1380' in {TRAIN}"],
    ]
    assert sorted(examples(builder, "train")) == ["1377", "1379"]
    assert f"2 rows skipped, listed in {path}" in capsys.readouterr().err
    reloaded = tfds.builder("rsna_bone_age", data_dir=tmp_path / "data")
    assert reloaded.info.splits["train"].num_examples == 2
    assert reloaded.info.metadata["skipped_rows"] == 2


def test_skipping_every_row_stops(root, tmp_path):
    write_train(root)
    for path in (root / TRAIN).iterdir():
        path.write_bytes(b"text")
    with pytest.raises(
        ValueError, match=r"train: no row can be used; .*skipped\.csv lists the reasons"
    ):
        prepare(root, tmp_path / "data", skip_bad_rows=True)


@pytest.mark.parametrize(
    ("config", "shape"),
    [("px256", (171, 256, 1)), ("px512", (341, 512, 1)), ("full", (400, 600, 1))],
)
def test_configs_shrink_large_images_only(root, tmp_path, config, shape):
    write_train(root, (1377,))
    write_images(root / TRAIN, (1378,), 400, 600)
    with (root / f"{TRAIN}.csv").open("a") as file:
        file.write("1378,12,True\n")
    found = examples(prepare(root, tmp_path / "data", config), "train")
    assert found["1378"][schema.IMAGE].shape == shape
    np.testing.assert_array_equal(found["1377"][schema.IMAGE][..., 0], pixels(1377))
    if config == "full":
        np.testing.assert_array_equal(found["1378"][schema.IMAGE][..., 0], pixels(1378, 400, 600))
    else:  # noise of 0 to 255 averaged over some pixels: antialiased
        assert found["1378"][schema.IMAGE].std() < 60


def test_keeps_its_options_when_pickled(tmp_path):
    builder = rsna_bone_age_dataset_builder.Builder(
        data_dir=tmp_path, skip_bad_rows=True, skipped_csv=tmp_path / "x.csv"
    )
    again = pickle.loads(pickle.dumps(builder))
    assert again._skip_bad_rows is True
    assert again._skipped_csv == tmp_path / "x.csv"
    assert again.builder_config.name == "px256"

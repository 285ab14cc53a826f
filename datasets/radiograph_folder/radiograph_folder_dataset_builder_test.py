import csv

import numpy as np
import pytest
import tensorflow_datasets as tfds
from bone_age_datasets.radiograph_folder import radiograph_folder_dataset_builder
from PIL import Image, PngImagePlugin

import dicom_files
from bone_age_tf import schema
from bone_age_tf.data import rows


class RadiographFolderTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = radiograph_folder_dataset_builder.Builder
    SPLITS = {"train": 2, "validation": 1, "test": 1}  # noqa: RUF012


def noise(seed, height=10, width=8, maximum=255, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, maximum + 1, (height, width), dtype)


def write(root, text, images=("a.png", "b.png"), table="hands.csv"):
    for seed, image in enumerate(images):
        path = root / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(seed)).save(path)
    (root / table).write_text(text)


def prepare(root, data_dir, config="px256", **options):
    builder = radiograph_folder_dataset_builder.Builder(data_dir=data_dir, config=config, **options)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(
            manual_dir=root, compute_stats=tfds.download.ComputeStatsMode.SKIP
        )
    )
    return builder


def examples(builder, split="train"):
    found = tfds.as_numpy(builder.as_dataset(split=split))
    return {example[schema.IMAGE_ID].decode(): example for example in found}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "manual"
    folder.mkdir()
    return folder


def test_names_in_another_spelling_are_found_and_similar_ones_named(root, tmp_path):
    text = "image,sex,age_months\nx\\b.png,f,30\nM\u00fcller.png,m,40\na,f,50\n"
    write(root, text, ("x/b.png", "Mu\u0308ller.png", "a.png"))
    with pytest.raises(rows.BadRowsError, match=r"no image 'a' in .*; did you mean 'a\.png'\?"):
        prepare(root, tmp_path / "data")
    builder = prepare(root, tmp_path / "skipping", skip_bad_rows=True)
    assert sorted(examples(builder)) == ["M\u00fcller.png", "x\\b.png"]


def test_reads_all_columns(root, tmp_path):
    write(
        root,
        "\ufeffImage, sex ,AGE_MONTHS,chronological_age_months,split\n"
        "a.png,F,30.5,33,\nx/b.png,male,162,,validation\nc.png,m,12,NaN,Train\n",
        ("a.png", "x/b.png", "c.png"),
    )
    builder = prepare(root, tmp_path / "data")
    assert list(builder.info.splits) == ["train", "validation"]
    train, validation = examples(builder), examples(builder, "validation")
    assert sorted(train) == ["a.png", "c.png"]
    assert list(validation) == ["x/b.png"]
    first = train["a.png"]
    assert first[schema.SEX] == schema.FEMALE
    assert first[schema.AGE_MONTHS] == 30.5
    assert first[schema.CHRONOLOGICAL_AGE_MONTHS] == 33
    np.testing.assert_array_equal(first[schema.IMAGE][..., 0], noise(0))
    assert np.isnan(train["c.png"][schema.CHRONOLOGICAL_AGE_MONTHS])
    assert validation["x/b.png"][schema.SEX] == schema.MALE
    assert np.isnan(validation["x/b.png"][schema.CHRONOLOGICAL_AGE_MONTHS])
    assert set(first) == set(schema.FEATURES)


def test_required_columns_are_enough(root, tmp_path):
    write(root, "image,sex,age_months\na.png,f,30\nb.png,m,60\n")
    builder = prepare(root, tmp_path / "data")
    assert list(builder.info.splits) == ["train"]
    assert np.isnan(examples(builder)["a.png"][schema.CHRONOLOGICAL_AGE_MONTHS])


def test_sixteen_bit_png_and_jpeg(root, tmp_path):
    twelve_bit = noise(3, maximum=4095, dtype=np.uint16)
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype(np.uint8)
    Image.fromarray(twelve_bit).save(root / "deep.png")
    Image.fromarray(smooth).save(root / "grey.jpg", quality=95)
    Image.fromarray(np.dstack([smooth, smooth // 2, smooth])).save(root / "colour.jpeg", quality=95)
    (root / "t.csv").write_text(
        "image,sex,age_months\ndeep.png,f,30\ngrey.jpg,m,60\ncolour.jpeg,m,61\n"
    )
    found = examples(prepare(root, tmp_path / "data"))
    low, high = int(twelve_bit.min()), int(twelve_bit.max())
    expected = np.rint((twelve_bit.astype(np.float64) - low) * 255 / (high - low))
    np.testing.assert_allclose(found["deep.png"][schema.IMAGE][..., 0], expected, atol=1)
    np.testing.assert_allclose(found["grey.jpg"][schema.IMAGE][..., 0], smooth, atol=6)
    grey = 0.413 * smooth + 0.587 * (smooth // 2)
    np.testing.assert_allclose(found["colour.jpeg"][schema.IMAGE][..., 0], grey, atol=8)


@pytest.mark.parametrize("where", ["chunk", "end"])
def test_stores_no_text_of_the_file(root, tmp_path, where):
    write(root, "image,sex,age_months\na.png,f,30\n", ())
    info = PngImagePlugin.PngInfo()
    if where == "chunk":
        info.add_text("Patient", "SECRET NAME")
    Image.fromarray(noise(5)).save(root / "a.png", pnginfo=info)
    if where == "end":
        (root / "a.png").write_bytes((root / "a.png").read_bytes() + b"SECRET NAME")
    builder = prepare(root, tmp_path / "data")
    np.testing.assert_array_equal(examples(builder)["a.png"][schema.IMAGE][..., 0], noise(5))
    stored = b"".join(path.read_bytes() for path in builder.data_path.glob("*tfrecord*"))
    assert b"SECRET NAME" in (root / "a.png").read_bytes()
    assert b"SECRET NAME" not in stored


@pytest.mark.parametrize(
    ("config", "shape"),
    [("px256", (171, 256, 1)), ("px512", (341, 512, 1)), ("full", (400, 600, 1))],
)
def test_configs_shrink_large_images_only(root, tmp_path, config, shape):
    write(root, "image,sex,age_months\na.png,f,30\nbig.png,m,60\n", ("a.png",))
    Image.fromarray(noise(4, 400, 600)).save(root / "big.png")
    found = examples(prepare(root, tmp_path / "data", config))
    assert found["big.png"][schema.IMAGE].shape == shape
    np.testing.assert_array_equal(found["a.png"][schema.IMAGE][..., 0], noise(0))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("none.png,f,30,,", "no image 'none.png' in the folder of the table"),
        ("text.png,f,30,,", "image 'text.png': not a PNG or JPEG image"),
        ("b.png,x,30,,", "sex is 'x'; write female or male (f or m)"),
        ("b.png,f,0,,", "age is 0 months; possible is above 0"),
        ("b.png,f,30,999,", "chronological age is 999 months"),
        ("b.png,f,30,,dev", "split is 'dev'; write train, validation or test"),
        ("a.png,f,30,,test", "id 'a.png' repeats line 2"),
        ("./a.png,f,30,,test", "id './a.png' repeats line 2"),
    ],
)
def test_bad_row_stops(root, tmp_path, line, reason):
    write(root, f"image,sex,age_months,chronological_age_months,split\na.png,f,30,,\n{line}\n")
    (root / "text.png").write_text("text")
    with pytest.raises(rows.BadRowsError) as error:
        prepare(root, tmp_path / "data")
    assert str(error.value).startswith(f"1 row cannot be used:\n  hands.csv:3: {reason}")
    assert "--skip_bad_rows" in str(error.value)
    assert not list((tmp_path / "data").rglob("*.tfrecord*"))


def test_lists_ten(root, tmp_path):
    lines = "".join(f"x{n}.png,f,{n}\n" for n in range(12))
    write(root, f"image,sex,age_months\na.png,f,30\n{lines}")
    with pytest.raises(rows.BadRowsError) as error:
        prepare(root, tmp_path / "data")
    listed = str(error.value).splitlines()
    assert listed[0] == "12 rows cannot be used:"
    assert listed[1].endswith("; age is 0 months; possible is above 0 and up to 240 months")
    assert listed[10].startswith("  hands.csv:12: no image 'x9.png'")
    assert listed[11] == "  and 2 more"
    assert len(error.value.problems) == 12


def test_skips_on_request_and_lists(root, tmp_path, capsys):
    write(root, "image,sex,age_months,split\na.png,f,30,\nb.png,f,300,test\nnone.png,m,3,test\n")
    builder = prepare(root, tmp_path / "data", skip_bad_rows=True)
    path = tmp_path / "data" / "radiograph_folder" / "skipped.csv"
    with path.open(newline="") as file:
        listed = list(csv.DictReader(file))
    assert [(row["file"], row["line"], row["image"]) for row in listed] == [
        ("hands.csv", "3", "b.png"),
        ("hands.csv", "4", "none.png"),
    ]
    assert "age is 300 months" in listed[0]["reason"]
    assert list(builder.info.splits) == ["train"]
    assert f"2 rows skipped, listed in {path}" in capsys.readouterr().err


def test_skipping_every_row_stops(root, tmp_path):
    write(root, "image,sex,age_months\na.png,f,300\n")
    with pytest.raises(ValueError, match=r"hands\.csv: no row can be used"):
        prepare(root, tmp_path / "data", skip_bad_rows=True)


def test_says_what_is_unused(root, tmp_path, capsys):
    write(root, "image,sex,age_months\n./x/../a.png,f,30\n", ("a.png", "b.png", "x/c.png"))
    prepare(root, tmp_path / "data")
    said = capsys.readouterr().err
    assert "2 images in the folder have no row in the table and are unused" in said
    assert "train: 1 images" in said


def test_one_table_of_several(root, tmp_path):
    write(root, "image,sex,age_months\na.png,f,30\n")
    (root / "other.csv").write_text("x,y\n")
    with pytest.raises(ValueError, match=r"2 \.csv files in .*: hands\.csv, other\.csv; rename"):
        prepare(root, tmp_path / "data")
    (root / "hands.csv").rename(root / "radiographs.csv")
    assert list(examples(prepare(root, tmp_path / "data"))) == ["a.png"]


@pytest.mark.parametrize("images", [(), ("a.png",)])
def test_no_table_gives_the_instructions(root, tmp_path, images):
    write(root, "", images)
    (root / "hands.csv").unlink()
    with pytest.raises(FileNotFoundError, match="Put a CSV table into the manual directory"):
        prepare(root, tmp_path / "data")


def test_dicom_files_are_stored_as_they_are_displayed(root, tmp_path, capsys):
    """Recognised by their content; the table's sex is used, and its age where it has one."""
    stored = noise(0, 80, 64, 4000, np.uint16).astype(int)
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    tags = {
        "IM0001": {"PatientSex": "F"},
        "b.dcm": {"PatientSex": "M", "PhotometricInterpretation": "MONOCHROME1"},
        "c.dcm": {"PatientBirthDate": ""},
        "unused": {},
    }
    for syntax, (name, facts) in zip(
        ("JPEG-LS", "RLE", "explicit", "RLE"), tags.items(), strict=True
    ):
        data = dicom_files.file_bytes(stored, syntax=syntax, **window, **facts)
        (root / name).write_bytes(data)
    (root / "t.csv").write_text(
        "image,sex,age_months,chronological_age_months\nIM0001,f,120,\nb.dcm,f,120,99\nc.dcm,f,9,\n"
    )
    found = examples(prepare(root, tmp_path / "data"))
    expected = np.clip((stored - 1999.5) / 2999 + 0.5, 0, 1) * 255
    np.testing.assert_allclose(found["IM0001"][schema.IMAGE][..., 0], expected, atol=1)
    np.testing.assert_allclose(found["b.dcm"][schema.IMAGE][..., 0], 255 - expected, atol=1)
    ages = [found[name][schema.CHRONOLOGICAL_AGE_MONTHS] for name in ("IM0001", "b.dcm", "c.dcm")]
    np.testing.assert_allclose(ages, [126, 99, np.nan], atol=0.2)
    assert found["b.dcm"][schema.SEX] == schema.FEMALE
    said = capsys.readouterr().err
    assert "another sex in the DICOM file than in the table, which is used: b.dcm\n" in said
    assert "1 images in the folder have no row in the table and are unused" in said


def test_dicom_files_without_a_radiograph_stop_the_preparation(root, tmp_path):
    stored = noise(0, 80, 64).astype(int)
    (root / "ct.dcm").write_bytes(dicom_files.file_bytes(stored, 8, Modality="CT"))
    (root / "t.csv").write_text("image,sex,age_months\nct.dcm,f,120\n")
    with pytest.raises(rows.BadRowsError, match=r"'ct\.dcm': not a radiograph: modality CT"):
        prepare(root, tmp_path / "data")

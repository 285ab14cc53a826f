import logging
from pathlib import Path

import pytest

from bone_age_tf import schema
from bone_age_tf.errors import InputError
from bone_age_tf.inference.cases import Case, collect_cases


def write_table(folder, text, encoding="utf-8"):
    path = folder / "table.csv"
    path.write_bytes(text.encode(encoding))
    return path


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


@pytest.mark.parametrize(
    ("sex", "code"), [("female", 0), ("M", 1), (" Male ", 1), ("f", 0), (None, None), ("", None)]
)
def test_single_image(tmp_path, sex, code):
    path = touch(tmp_path / "hand.PNG")
    assert collect_cases(str(path), sex) == [Case(str(path), path, code)]


def test_image_is_named_as_given(tmp_path, monkeypatch):
    touch(tmp_path / "below" / "hand.jpg")
    monkeypatch.chdir(tmp_path)
    assert collect_cases("below/hand.jpg")[0].image == "below/hand.jpg"
    assert collect_cases("below")[0].image == "below/hand.jpg"


def test_folder_is_read_with_its_subfolders_in_order(tmp_path):
    for name in ("b.png", "a.JPEG", "sub/c.jpg", "notes.txt", "table.csv", "scan.dcm"):
        touch(tmp_path / name)
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "folder.png").mkdir()
    cases = collect_cases(tmp_path, "male")
    names = [case.path.relative_to(tmp_path).as_posix() for case in cases]
    assert names == ["IM0001", "a.JPEG", "b.png", "scan.dcm", "sub/c.jpg"]
    assert {case.sex for case in cases} == {schema.MALE}


def test_folder_leaves_out_hidden_files(tmp_path):
    for name in ("a.png", "._a.png", ".trash/b.png"):
        touch(tmp_path / name)
    assert [case.path.name for case in collect_cases(tmp_path)] == ["a.png"]


def test_file_name_that_is_no_text(tmp_path):
    path = tmp_path / "hand\udcff.png"
    try:
        touch(path)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes only text for names")
    (case,) = collect_cases(tmp_path)
    assert case.path == path
    assert case.image.endswith("hand\\xff.png")


def test_table(tmp_path):
    path = write_table(
        tmp_path, "image,sex,age_months\na.png,female,120.5\nsub/b.jpg,M,\n/c.png,,30\n"
    )
    assert collect_cases(path) == [
        Case("a.png", tmp_path / "a.png", 0, 120.5, sex_source="table"),
        Case("sub/b.jpg", tmp_path / "sub/b.jpg", 1, None, sex_source="table"),
        Case("/c.png", Path("/c.png"), None, 30.0),
    ]


def test_sex_option_fills_only_empty_cells(tmp_path):
    path = write_table(tmp_path, "image,sex\na.png,female\nb.png,\nc.png\n")
    assert [case.sex for case in collect_cases(path, "male")] == [0, 1, 1]


def test_header_in_any_order_case_and_spacing_with_a_byte_order_mark(tmp_path):
    path = write_table(
        tmp_path, 'AGE_Months, Sex ,IMAGE\r\n12,m,"a, b.png"\r\n\r\n,,\r\n', "utf-8-sig"
    )
    assert collect_cases(path) == [
        Case("a, b.png", tmp_path / "a, b.png", 1, 12.0, sex_source="table")
    ]


def test_unknown_columns_are_named(tmp_path, caplog):
    path = write_table(tmp_path, "id,image,hospital\n1,a.png,f\n")
    with caplog.at_level(logging.WARNING):
        assert collect_cases(path) == [Case("a.png", tmp_path / "a.png")]
    assert "columns not used: id, hospital (used: image, sex, age_months, " in caplog.text


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,girl,100", "sex is 'girl'; write female or male (f or m)"),
        ("a.png,f,ten", "age is 'ten'; write a number of months"),
        ("a.png,f,nan", "age is nan months; possible is above 0 and up to 240 months"),
        ("a.png,f,-3", "age is -3 months; possible is above 0 and up to 240 months"),
        (",f,100", "no image named in the row ',f,100'"),
        ("a.png,1,x", "sex is '1'; write female or male (f or m); age is 'x'; write a number"),
    ],
)
def test_cell_that_cannot_be_read_is_a_problem_of_its_row(tmp_path, row, problem):
    path = write_table(tmp_path, f"image,sex,age_months\n{row}\nb.png,m,50\n")
    bad, good = collect_cases(path, "female")
    assert bad.problem.startswith(problem)
    assert good == Case("b.png", tmp_path / "b.png", 1, 50.0, sex_source="table")


def test_the_two_ages_and_the_height_are_kept_apart(tmp_path):
    path = write_table(
        tmp_path,
        "Chronological_Age_Months,image,age_months,Height_CM,sex\n"
        "100,a.png,88.5,120.5,\n"
        ",b.png,88.5,,m\n"
        "0,c.png,,,\n",
    )
    first, second, third = collect_cases(path, "f")
    assert (first.age_months, first.chronological_age_months, first.height_cm) == (88.5, 100, 120.5)
    assert (second.age_months, second.chronological_age_months) == (88.5, None)
    assert (third.age_months, third.chronological_age_months, third.height_cm) == (None, 0, None)
    assert [(case.sex, case.sex_source) for case in (first, second)] == [(0, "flag"), (1, "table")]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,8 years,", "chronological age is '8 years'; write a number from 0 to 1320 months"),
        ("a.png,-1,", "chronological age is '-1'; write a number from 0 to 1320 months"),
        ("a.png,,1.2", "height is '1.2'; write a number from 30 to 250 cm"),
        ("a.png,nan,nan", "chronological age is 'nan'; write a number from 0 to 1320 months; heig"),
    ],
)
def test_an_age_or_height_that_is_not_possible_is_a_problem(tmp_path, row, problem):
    path = write_table(tmp_path, f"image,chronological_age_months,height_cm\n{row}\n")
    assert collect_cases(path)[0].problem.startswith(problem)


def test_bad_sex_is_not_replaced_by_the_option(tmp_path):
    path = write_table(tmp_path, "image,sex\na.png,girl\n")
    assert collect_cases(path, "male")[0].sex is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the table is empty; its first row is image,sex,age_months"),
        ("\n , \n", "the table is empty"),
        ("image,sex\n", "a header and no rows"),
        ("file,sex\na.png,f\n", "no column 'image'; the first row is 'file,sex'"),
        ("image;sex\na.png;f\n", "separated by commas"),
        ("image,sex,SEX\na.png,f,m\n", "column 'sex' is there twice"),
    ],
)
def test_table_that_cannot_be_used(tmp_path, text, message):
    path = write_table(tmp_path, text)
    with pytest.raises(InputError) as error:
        collect_cases(path)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)


def test_table_that_is_no_text(tmp_path):
    (tmp_path / "table.csv").write_bytes(b"image,sex\n\xff\xfe.png,f\n")
    with pytest.raises(InputError, match="save the table as CSV UTF-8"):
        collect_cases(tmp_path / "table.csv")


def test_input_not_found(tmp_path):
    with pytest.raises(InputError, match=r"hand\.png: no such file or folder; give an image"):
        collect_cases(tmp_path / "hand.png")


@pytest.mark.parametrize("name", ["hand.tiff", "hand"])
def test_unsupported_file(tmp_path, name):
    touch(tmp_path / name)
    with pytest.raises(InputError, match=r"cannot read files ending in.*\.png, \.jpg, \.jpeg"):
        collect_cases(tmp_path / name)


def test_folder_without_radiographs(tmp_path):
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"no radiographs in this folder; it needs.*\.png"):
        collect_cases(tmp_path)


def test_bad_sex_option(tmp_path):
    with pytest.raises(InputError, match="--sex: sex is 'boy'; write female or male"):
        collect_cases(touch(tmp_path / "hand.png"), "boy")


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        ("gender", ("F", "male")),
        ("Patient Sex", ("female", "M")),
        ("male", ("False", "TRUE")),
        ("is_male", ("0", "1")),
        ("female", ("yes", "no")),
    ],
)
def test_a_column_that_holds_the_sex_is_not_overruled(tmp_path, column, texts):
    path = write_table(tmp_path, f"image,{column}\na.png,{texts[0]}\nb.png,{texts[1]}\nc.png,\n")
    assert [case.sex for case in collect_cases(path, "male")] == [0, 1, 1]


def test_columns_that_may_hold_the_sex_are_refused_together(tmp_path):
    path = write_table(tmp_path, "image,sex,male\na.png,f,True\n")
    with pytest.raises(InputError, match="columns 'sex' and 'male' both look like the sex"):
        collect_cases(path)
    path = write_table(tmp_path, "image,male\na.png,girl\n")
    (case,) = collect_cases(path, "female")
    assert case.sex is None
    assert case.problem == "male is 'girl'; write true or false"


def test_the_index_of_pandas_is_no_column(tmp_path, caplog):
    path = write_table(tmp_path, ",image,sex,Unnamed: 7\n0,a.png,f,x\n")
    (case,) = collect_cases(path)
    assert (case.image, case.sex, caplog.text) == ("a.png", 0, "")


def test_names_are_found_in_another_spelling(tmp_path):
    composed, decomposed = "Mu\u0308ller.png", "M\u00fcller.png"
    touch(tmp_path / "sub" / composed)
    path = write_table(tmp_path, f"image\nsub\\{decomposed}\nsub/1377.0\n", "utf-8")
    touch(tmp_path / "sub" / "1377.png")
    first, second = collect_cases(path)
    assert (first.image, first.path) == (f"sub\\{decomposed}", tmp_path / "sub" / composed)
    assert second.problem == "no such file; did you mean 1377.png?"


def test_apostrophes_before_formulas_are_taken_off_again(tmp_path):
    touch(tmp_path / "=1+1.png")
    (case,) = collect_cases(write_table(tmp_path, "image\n'=1+1.png\n"))
    assert case.path == tmp_path / "=1+1.png"


def test_files_of_a_folder_that_are_not_read_are_counted_by_kind(tmp_path, caplog):
    for name in ("a.png", "b.tif", "sub/c.TIF", "notes", ".hidden.txt"):
        touch(tmp_path / name)
    assert len(collect_cases(tmp_path)) == 1
    assert f"{tmp_path}: 3 files are not read: 2 .tif, 1 no ending" in caplog.text
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"it holds 2 \.tif, 1 no ending"):
        collect_cases(tmp_path)

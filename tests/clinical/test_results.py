"""Clinical columns of results: from what they are computed, in rows, JSON and text."""

import json
from pathlib import Path

import jsonschema
import pytest

from bone_age_tf import clinical
from bone_age_tf.clinical import result_json
from bone_age_tf.clinical.result_columns import COLUMNS, RESULT_COLUMNS, rows_of
from bone_age_tf.clinical.result_json import make_schema, to_json_object
from bone_age_tf.commands.predict import describe
from bone_age_tf.errors import InputError
from bone_age_tf.images.dicom_facts import Study
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import Result
from bone_age_tf.result_table import ResultTable

GIRL = Result(
    "hand.dcm",
    "female",
    {"female": Prediction(168.0, (157.0, 178.0))},
    model="bins version 1, float32",
    sex_source="file",
    chronological_age_months=144.0,
    height_cm=150.0,
    side="left",
    study=Study("1.2.1", "1.2.2", "1.2.3", "1.2.4"),
)
BOTH = Result(
    "hand.png",
    None,
    {"female": Prediction(200.0, None), "male": Prediction(180.0, None)},
    chronological_age_months=200.0,
)
FAILED = Result("x.png", "male", {}, "failed", ("no such file",), chronological_age_months=90.0)


def cells(result, *reference):
    return [
        {column.name: column.text(row) for column in COLUMNS} for row in rows_of(result, *reference)
    ]


def changed(**values):
    return Result(**{**GIRL.__dict__, **values})


def test_a_row_has_the_score_its_reference_and_the_adult_height():
    (row,) = cells(GIRL)
    assert tuple(row) == RESULT_COLUMNS and len(set(row)) == len(row)
    # (168 - 144) / 10.24 by the Brush Foundation. A bone age of 14-0, accelerated by 24 months, is
    # 98.0 percent of the adult height after Bayley and Pinneau.
    adult = clinical.predict_adult_height(150, 168, 144, "female")
    assert adult.height_cm == pytest.approx(150 / (adult.percent_of_adult_height / 100))
    assert row == {
        "image": "hand.dcm",
        "sex": "female",
        "bone_age_months": "168.0",
        "lower_90": "157.0",
        "upper_90": "178.0",
        "status": "ok",
        "reason": "",
        "side": "left",
        "sex_source": "file",
        "chronological_age_months": "144.0",
        "sds": "2.34",
        "sds_reference": "brush_foundation",
        "assessment": "advanced",
        "height_cm": "150.0",
        "adult_height_cm": f"{adult.height_cm:.1f}",
        "adult_height_error_cm": f"{adult.error_cm:.1f}",
        "study_instance_uid": "1.2.1",
        "series_instance_uid": "1.2.2",
        "sop_instance_uid": "1.2.3",
    }
    (other,) = cells(GIRL, "greulich_pyle_v_vi")
    assert (other["sds"], other["sds_reference"], other["assessment"]) == (
        "1.71",
        "greulich_pyle_v_vi",
        "normal",
    )


def test_outside_the_table_there_is_the_reason_and_no_score():
    girl, boy = cells(BOTH)  # tables of girls end at 192 months, and of boys at 204
    assert (girl["sds"], girl["sds_reference"], girl["assessment"]) == ("", "brush_foundation", "")
    assert girl["reason"] == (
        "sex not given: result for both sexes; no standard deviation score: chronological age 200 "
        "months is outside the table, which covers 3 to 192 months (female, Brush Foundation "
        "(Greulich and Pyle 1959, tables III and IV))"
    )
    assert boy["assessment"] == "normal" and float(boy["sds"]) < -1
    assert boy["reason"] == "sex not given: result for both sexes"
    assert (girl["sex_source"], boy["sex_source"]) == ("", "")


def test_without_a_chronological_age_there_is_nothing():
    (row,) = cells(changed(chronological_age_months=None, height_cm=None, study=None))
    empty = {name for name, text in row.items() if not text}
    assert {"sds", "sds_reference", "assessment", "adult_height_cm"} < empty
    assert (row["reason"], row["bone_age_months"]) == ("", "168.0")
    (row,) = cells(changed(chronological_age_months=None))
    assert row["height_cm"] == "150.0"
    assert row["reason"] == "no adult height: the chronological age is not known"
    (row,) = cells(FAILED)
    assert (row["sex"], row["chronological_age_months"], row["sds"]) == ("male", "90.0", "")


def test_an_adult_height_outside_the_table_has_its_reason():
    young = changed(by_sex={"female": Prediction(60.0, None)}, chronological_age_months=66.0)
    (row,) = cells(young)
    assert row["adult_height_cm"] == "" and row["sds"] != ""
    assert row["reason"].startswith("no adult height: bone age 60 months is outside the table")


@pytest.mark.parametrize("months", [-0.4, 5000.0])
def test_a_bone_age_that_is_not_possible_raises_no_error(months):
    result = changed(by_sex={"female": Prediction(months, None)}, chronological_age_months=12.0)
    assert clinical.score_result(result).assessment == ("delayed" if months < 0 else "advanced")


def test_scores_of_results():
    assert clinical.score_result(GIRL).sds == pytest.approx(2.34375)
    assert clinical.score_result(GIRL, sex="male") is None
    assert clinical.score_result(BOTH) is None
    assert clinical.score_result(BOTH, sex="male").assessment == "normal"
    assert clinical.predict_adult_height_of(GIRL).group == "accelerated"
    assert clinical.predict_adult_height_of(BOTH, "male") is None
    with pytest.raises(InputError, match="brush_foundation or greulich_pyle_v_vi"):
        clinical.score_result(FAILED, "tanner")


def test_json_objects_agree_with_the_schema():
    path = Path(result_json.__file__).with_name(result_json.SCHEMA_FILE)
    described = json.loads(path.read_text("utf-8"))
    # After a change of the columns, write result_json.make_schema() to this file.
    assert described == make_schema()
    jsonschema.Draft202012Validator.check_schema(described)
    for result in (GIRL, BOTH, FAILED, changed(quality_checked=None)):
        content = json.loads(json.dumps(to_json_object(result)))
        jsonschema.validate(content, described)
        assert set(content["predictions"][0] if result.by_sex else {}) <= {
            *RESULT_COLUMNS,
            "standard_deviation_scores",
            "adult_height",
            "unfamiliarity",
            "region_ages_months",
        }
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "sex": "girl"}, described)


def test_json_has_the_values_of_the_rows_and_both_references():
    content = to_json_object(GIRL, "greulich_pyle_v_vi")
    (prediction,) = content["predictions"]
    (row,) = cells(GIRL, "greulich_pyle_v_vi")
    for column in COLUMNS:
        if column.name != "reason":
            value = {**content, **prediction}[column.name]
            text = value if column.decimals is None else f"{value:.{column.decimals}f}"
            assert text == row[column.name]
    scores = prediction["standard_deviation_scores"]
    assert [(each["reference"], each["assessment"]) for each in scores] == [
        ("brush_foundation", "advanced"),
        ("greulich_pyle_v_vi", "normal"),
    ]
    assert prediction["sds"] == scores[1]["sds"] == pytest.approx(24 / 14)
    assert prediction["adult_height"]["source"].startswith("Bayley and Pinneau 1952")
    both = to_json_object(BOTH)
    assert [each["sex"] for each in both["predictions"]] == ["female", "male"]
    assert (both["sex"], both["study_instance_uid"]) == (None, None)
    assert to_json_object(FAILED)["predictions"] == []
    assert to_json_object(FAILED)["reasons"] == ["no such file"]


def test_files_of_a_table(tmp_path):
    table = ResultTable((GIRL, BOTH, FAILED), (None, None, None))
    for name in ("a.csv", "a.json", "a.jsonl"):
        table.write(tmp_path / name, "greulich_pyle_v_vi")
    objects = json.loads((tmp_path / "a.json").read_text("utf-8"))
    lines = (tmp_path / "a.jsonl").read_text("utf-8").splitlines()
    assert objects == [json.loads(line) for line in lines] and len(objects) == 3
    assert objects[0]["predictions"][0]["sds_reference"] == "greulich_pyle_v_vi"
    assert len((tmp_path / "a.csv").read_text("utf-8").splitlines()) == 1 + 4
    frame = table.to_pandas()
    assert frame["sds"][0] == pytest.approx(2.34) and frame["assessment"][0] == "advanced"
    assert frame["chronological_age_months"].tolist() == [144, 200, 200, 90]


def test_text_of_one_radiograph():
    adult = clinical.predict_adult_height_of(GIRL)
    assert describe(ResultTable((GIRL,), (None,))).splitlines()[1:] == [
        "  chronological age 144.0 months: advanced, +2.3 SD (SD 10.2 months, Brush Foundation "
        "(Greulich and Pyle 1959, tables III and IV))",
        f"  adult height {adult.height_cm:.1f} cm from 150.0 cm (SD of the error "
        f"{adult.error_cm:.1f} cm, accelerated, Bayley and Pinneau 1952, Greulich-Pyle bone age)",
    ]
    text = describe(ResultTable((GIRL,), (None,)), "greulich_pyle_v_vi")
    assert "normal, +1.7 SD (SD 14.0 months, Greulich and Pyle 1959, tables V and VI)" in text
    _, girl, _, boy, hint = describe(ResultTable((BOTH,), (None,))).splitlines()
    assert girl.startswith("  no standard deviation score: chronological age 200 months is outside")
    assert boy.startswith("  chronological age 200.0 months: normal, -")
    assert hint.startswith("sex not given")
    bare = changed(chronological_age_months=None, height_cm=None)
    assert len(describe(ResultTable((bare,), (None,))).splitlines()) == 1


def test_results_keep_what_is_known_in_a_journal():
    for result in (GIRL, BOTH, FAILED):
        back = Result.from_dict(json.loads(json.dumps(result.to_dict())))
        assert cells(back) == cells(result) and back.study == result.study

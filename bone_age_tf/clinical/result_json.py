"""Results as JSON objects, and the JSON schema of an object.

Files of `bone-age predict --output` and of `write_reports` hold the same objects. The object of a
report has the entry `report` too.
"""

import dataclasses
import importlib.resources
import json
from typing import Any, Final

from bone_age_tf import schema
from bone_age_tf.clinical.adult_height import ACCELERATED, AVERAGE, RETARDED
from bone_age_tf.clinical.result_columns import COLUMNS, Column, Row, rows_of
from bone_age_tf.clinical.result_measures import score_result
from bone_age_tf.evaluation.region_norms import RegionAge
from bone_age_tf.inference.result import OK, Result

FORMAT: Final = "bone_age_tf.result.1"
"""Name and version of the format; the version changes when a reader would have to change."""
REPORT: Final = "report"
"""Entry that only the object of a report has, see `BoneAgeReport.to_json_object`."""
SCHEMA_FILE: Final = "result.schema.json"
"""The JSON schema, beside this file; written by `make_schema`."""

_NOT_OF_RADIOGRAPH: Final = ("reason",)
"""Columns that an object has as lists, or for each prediction, instead."""


def to_json_object(result: Result, sds_reference: str = schema.BRUSH_FOUNDATION) -> dict[str, Any]:
    """Returns a result as values that JSON can hold, as `result.schema.json` describes them.

    Numbers are not rounded. Values that are unknown are None.

    Args:
        result: the result.
        sds_reference: reference of `sds`; scores by all references follow it.
    """
    whole = Row(result, result.sex, sds_reference)
    return {
        "format": FORMAT,
        **{column.name: column.value_fn(whole) for column in _of_radiograph()},
        "reasons": list(result.reasons),
        "corrections": list(result.corrections),
        "notes": list(result.notes),
        "quality_checked": result.quality_checked,
        "model": result.model,
        "predictions": [
            _prediction(row) for row in rows_of(result, sds_reference) if row.prediction
        ],
    }


def read_json_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of the JSON files of results and reports."""
    file = importlib.resources.files("bone_age_tf.clinical") / SCHEMA_FILE
    described: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return described


def _prediction(row: Row) -> dict[str, Any]:
    regions = None if row.prediction is None else row.prediction.regions
    scores = [score_result(row.result, name, row.sex) for name in schema.SD_REFERENCES]
    height = row.adult_height
    return {
        **{column.name: column.value_fn(row) for column in _of_prediction()},
        schema.UNFAMILIARITY: None if row.prediction is None else row.prediction.unfamiliarity,
        schema.REGION_AGES: None
        if regions is None
        else {name: dataclasses.asdict(region) for name, region in regions.items()},
        "standard_deviation_scores": [
            dataclasses.asdict(score) for score in scores if score is not None
        ],
        "adult_height": None if height is None else dataclasses.asdict(height),
    }


def _of_radiograph() -> list[Column]:
    return [
        column
        for column in COLUMNS
        if not column.is_of_prediction and column.name not in _NOT_OF_RADIOGRAPH
    ]


def _of_prediction() -> list[Column]:
    return [column for column in COLUMNS if column.is_of_prediction or column.name == schema.SEX]


def make_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of the objects of `to_json_object`, and of reports.

    `result.schema.json` holds it.
    """
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bone age of one radiograph",
        "description": "A line of a .jsonl file, or an item of a .json file, of bone-age predict; "
        "or the JSON file of a report. Research use; not a medical device.",
        **_object(
            {
                "format": {"const": FORMAT},
                **{column.name: _property(column) for column in _of_radiograph()},
                "reasons": {**texts, "description": "why there is no prediction"},
                "corrections": {**texts, "description": "what was corrected before the prediction"},
                "notes": {**texts, "description": "contradictions and limits of what is known"},
                "quality_checked": {
                    "type": ["boolean", "null"],
                    "description": "whether the quality check ran; null where a server reads",
                },
                "model": {"type": "string", "description": "name, version and variant"},
                "predictions": {
                    "type": "array",
                    "maxItems": len(schema.SEX_NAMES),
                    "items": _prediction_schema(),
                    "description": "one for the sex; one for each sex where it is unknown",
                },
                REPORT: _report_schema(),
            },
            optional=(REPORT,),
        ),
        # A prediction is there exactly where the status says so.
        "if": {"properties": {"status": {"const": OK}}},
        "then": {"properties": {"predictions": {"minItems": 1}}},
        "else": {"properties": {"predictions": {"maxItems": 0}}},
    }


def _report_schema() -> dict[str, Any]:
    text = {"type": "string"}
    texts = {"type": "array", "items": text}
    content = {
        "written_at": {**text, "format": "date-time"},
        "software": _object({"name": text, "version": text}),
        "disclaimer": text,
        "conclusions": {**texts, "description": "the answer in whole sentences"},
        "limits": {**texts, "description": "what is to be known about the reliability"},
    }
    return {**_object(content), "description": "only in the JSON file of a report"}


def _prediction_schema() -> dict[str, Any]:
    number, text = {"type": ["number", "null"]}, {"type": "string"}
    region = {field.name: {"type": "number"} for field in dataclasses.fields(RegionAge)}
    by_name = {column.name: column for column in COLUMNS}
    score = {
        "sds": number,
        "sd_months": number,
        "assessment": _property(by_name["assessment"]),
        "reference": {"enum": list(schema.SD_REFERENCES)},
        "reference_name": text,
        "reason": {**text, "description": "why there is no score; empty if there is one"},
    }
    height = {
        "height_cm": number,
        "error_cm": number,
        "group": {"enum": [AVERAGE, ACCELERATED, RETARDED]},
        "percent_of_adult_height": number,
        "source": text,
        "reason": {**text, "description": "why there is no adult height; empty if there is one"},
    }
    return _object(
        {
            **{column.name: _property(column) for column in _of_prediction()},
            schema.UNFAMILIARITY: {
                **number,
                "description": "distance from the training images; 1 is the limit",
            },
            schema.REGION_AGES: {
                "type": ["object", "null"],
                "additionalProperties": _object(region),
                "description": "by region; null where the model does not read single regions",
            },
            "standard_deviation_scores": {
                "type": "array",
                "items": _object(score),
                "description": "by each reference; empty without a chronological age",
            },
            "adult_height": {"anyOf": [_object(height), {"type": "null"}]},
        }
    )


def _object(properties: dict[str, Any], optional: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Any]:
    description = {"description": column.meaning.replace("`", "")}
    if column.choices:
        return {"enum": [*column.choices, None], **description}
    return {"type": ["string" if column.decimals is None else "number", "null"], **description}

"""Results as JSON objects, and the JSON schema of an object."""

import dataclasses
from typing import Any, Final

from bone_age_tf import schema
from bone_age_tf.clinical.adult_height import ACCELERATED, AVERAGE, RETARDED
from bone_age_tf.clinical.result_columns import COLUMNS, Column, Row, rows_of
from bone_age_tf.clinical.result_measures import score_result
from bone_age_tf.inference.result import Result

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


def _prediction(row: Row) -> dict[str, Any]:
    scores = [score_result(row.result, name, row.sex) for name in schema.SD_REFERENCES]
    height = row.adult_height
    return {
        **{column.name: column.value_fn(row) for column in _of_prediction()},
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
    """Returns the JSON schema (draft 2020-12) of the objects of `to_json_object`."""
    texts = {"type": "array", "items": {"type": "string"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Bone age of one radiograph",
        "description": "A line of a .jsonl file, or an item of a .json file, of bone-age predict. "
        "Research use; not a medical device.",
        **_object(
            {
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
            }
        ),
    }


def _prediction_schema() -> dict[str, Any]:
    number, text = {"type": ["number", "null"]}, {"type": "string"}
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
            "standard_deviation_scores": {
                "type": "array",
                "items": _object(score),
                "description": "by each reference; empty without a chronological age",
            },
            "adult_height": {"anyOf": [_object(height), {"type": "null"}]},
        }
    )


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _property(column: Column) -> dict[str, Any]:
    description = {"description": column.meaning.replace("`", "")}
    if column.choices:
        return {"enum": [*column.choices, None], **description}
    return {"type": ["string" if column.decimals is None else "number", "null"], **description}

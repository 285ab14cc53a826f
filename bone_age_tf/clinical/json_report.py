"""The result as one JSON object a radiograph. `report.schema.json` describes it.

Standard library only.
"""

import datetime
import importlib.resources
import json
from typing import Any, Final

from bone_age_tf import __version__
from bone_age_tf.clinical.growth_chart import DISCLAIMER
from bone_age_tf.clinical.report import SOFTWARE, BoneAgeReport, StudyFacts

FORMAT: Final = "bone_age_tf.report.1"
"""Name and version of the format; the version changes when a reader would have to change."""
SCHEMA_FILE: Final = "report.schema.json"


def make_json_report(
    report: BoneAgeReport, facts: StudyFacts, written_at: datetime.datetime
) -> dict[str, Any]:
    """Returns the result as values that JSON can hold.

    Args:
        report: the content.
        facts: what the source states; without UIDs where the radiograph is not a DICOM file.
        written_at: date and time of the report, with its time zone.
    """
    content = report.to_dict()
    return {
        "format": FORMAT,
        "disclaimer": DISCLAIMER,
        "written_at": written_at.isoformat(timespec="seconds"),
        "software": {"name": SOFTWARE, "version": __version__},
        "source": {
            "name": content.pop("source"),
            "study_uid": facts.study_uid or None,
            "series_uid": facts.series_uid or None,
            "instance_uid": facts.instance_uid or None,
        },
        **content,
        "limits": [*report.limits],
    }


def read_json_schema() -> dict[str, Any]:
    """Returns the JSON schema (draft 2020-12) of `make_json_report`."""
    file = importlib.resources.files("bone_age_tf.clinical") / SCHEMA_FILE
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema

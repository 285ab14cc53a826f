"""Codes of reports, as plain values that need no DICOM library.

Sources: LOINC codes from HL7's value set of LOINC class RAD; DCM, SCT and UCUM codes from DICOM
PS3.16. PS3.16 has no code for bone age or for its method. The bone age therefore has the code by
which HL7's profiles and the SMART growth chart exchange it: LOINC 37362-1, in months.
"""

from typing import Final, NamedTuple


class Code(NamedTuple):
    """A coded term.

    Attributes:
        scheme: DICOM's designator of the coding scheme.
        value: the code.
        meaning: its meaning in that scheme.
    """

    scheme: str
    value: str
    meaning: str


LOINC: Final = "LN"
DCM: Final = "DCM"
SNOMED: Final = "SCT"
UCUM: Final = "UCUM"
UMLS: Final = "UMLS"

FHIR_SYSTEMS: Final = {
    LOINC: "http://loinc.org",
    DCM: "http://dicom.nema.org/resources/ontology/DCM",
    SNOMED: "http://snomed.info/sct",
    UCUM: "http://unitsofmeasure.org",
}
"""FHIR's name of each coding scheme."""

BONE_AGE: Final = Code(LOINC, "37362-1", "Bones X-ray bone age")
LEFT_HAND: Final = Code(LOINC, "26353-3", "Wrist - left and Hand - left X-ray bone age")
RIGHT_HAND: Final = Code(LOINC, "26354-1", "Wrist - right and Hand - right X-ray bone age")
ANY_HAND: Final = Code(LOINC, "24724-7", "Wrist and Hand X-ray bone age")
"""Procedures: the left, the right, or a hand whose side is not stated."""

Z_SCORE: Final = Code(DCM, "121416", "Z-Score of measurement")
SUBJECT_AGE: Final = Code(DCM, "121033", "Subject Age")
SUBJECT_SEX: Final = Code(DCM, "121032", "Subject Sex")
FEMALE: Final = Code(DCM, "F", "Female")
MALE: Final = Code(DCM, "M", "Male")
QUALITY_ISSUE: Final = Code(DCM, "113010", "Quality Issue")
COMMENT: Final = Code(DCM, "121106", "Comment")
CONCLUSION: Final = Code(DCM, "121077", "Conclusion")
SOURCE_IMAGE: Final = Code(DCM, "121322", "Source image for image processing operation")
QUALITATIVE_EVALUATIONS: Final = Code(UMLS, "C0034375", "Qualitative Evaluations")

NORMALITY: Final = {
    "delayed": Code(SNOMED, "371880002", "Abnormally Low"),
    "normal": Code(SNOMED, "17621005", "Normal"),
    "advanced": Code(SNOMED, "371879000", "Abnormally High"),
}
"""DICOM's normality codes (CID 222) by the assessment of a standard deviation score."""
NORMAL_LOWER: Final = Code(SNOMED, "385524004", "Normal Range Lower Limit")
NORMAL_UPPER: Final = Code(SNOMED, "371933006", "Normal Range Upper Limit")
UNCERTAINTY_LOWER: Final = Code(SNOMED, "371885007", "-, range of lower measurement uncertainty")
UNCERTAINTY_UPPER: Final = Code(SNOMED, "371886008", "+, range of upper measurement uncertainty")
HAND: Final = Code(SNOMED, "85562004", "Hand")
LEFT: Final = Code(SNOMED, "7771000", "Left")
RIGHT: Final = Code(SNOMED, "24028007", "Right")

MONTH: Final = Code(UCUM, "mo", "month")
NO_UNITS: Final = Code(UCUM, "1", "no units")


def procedure_of(side: str | None) -> Code:
    """Returns the code of the procedure for the stated side: left, right or None."""
    return {"left": LEFT_HAND, "right": RIGHT_HAND}.get(side or "", ANY_HAND)

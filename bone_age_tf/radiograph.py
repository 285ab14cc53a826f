"""A radiograph: its pixels and what is known about them. No TensorFlow."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bone_age_tf import reasons, schema
from bone_age_tf.errors import InputError
from bone_age_tf.images import decoding, dicom, reading
from bone_age_tf.images.dicom_facts import Study

ARRAY = "array"
"""Value of `source` for a radiograph that was given as an array."""


@dataclasses.dataclass(frozen=True, eq=False)
class Radiograph:
    """A radiograph of a hand and wrist.

    Attributes:
        pixels: [H, W] float32, 0 to 255.
        source: the file as the user wrote it, or another name.
        sex: female, male, or None where unknown; given as a word or as a code of `schema`.
        chronological_age_months: the child's age in months, None where unknown.
        side: left, right, or None where unknown.
        pixel_spacing_mm: distance between the centres of pixels, rows first, in millimetres; None
            where unknown.
        corrections: what was corrected so far, in words.
        study: identifiers of the DICOM object; None for other files and arrays.
        notes: what the user should know about the attributes above, in words.
        sex_source: `flag` if the sex was given, `file` if it is that of the file; None without one.
        chronological_age_error_months: how far the true age can be from the one above, for instance
            6 where a file states the age in years.
        height_cm: the child's height in cm when the radiograph was taken, None where unknown.
    """

    pixels: np.ndarray
    source: str = ARRAY
    sex: str | None = None
    chronological_age_months: float | None = None
    side: str | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    corrections: tuple[str, ...] = ()
    study: Study | None = None
    notes: tuple[str, ...] = ()
    sex_source: str | None = None
    chronological_age_error_months: float = 0.0
    height_cm: float | None = None

    def __post_init__(self) -> None:
        """Checks the attributes and writes the sex as a word.

        Raises:
            InputError: the pixels are not [H, W], the sex or side is unknown, or the age or height
                is not possible.
        """
        pixels = np.asarray(self.pixels, np.float32)
        if pixels.ndim != 2 or not pixels.size:
            raise InputError(f"image has shape {pixels.shape}; give [H, W] with at least one pixel")
        if self.side not in (None, *schema.SIDES):
            raise InputError(f"side is {self.side!r}; give {' or '.join(schema.SIDES)}")
        object.__setattr__(self, "pixels", pixels)
        sex = sex_name(self.sex)
        object.__setattr__(self, "sex", sex)
        source = None if sex is None else self.sex_source or schema.FROM_FLAG
        object.__setattr__(self, "sex_source", source)
        age = given_number(schema.parse_chronological_age_months, self.chronological_age_months)
        object.__setattr__(self, "chronological_age_months", age)
        height = given_number(schema.parse_height_cm, self.height_cm)
        object.__setattr__(self, "height_cm", height)

    @classmethod
    def open(
        cls, source: str | Path | bytes, sex: str | int | None = None, name: str | None = None
    ) -> "Radiograph":
        """Reads a radiograph from a PNG, JPEG or DICOM file.

        The type of the file is recognised by its content. See `images.reading.read_radiograph` for
        PNG and JPEG. For DICOM, see `images.dicom.read_dicom`: the side, the chronological age, the
        height, the pixel spacing, the identifiers and, where it is not given, the sex are those of
        the file.

        Args:
            source: a path, or the file's bytes.
            sex: female, male, f, m or a code of `schema`; None where unknown. It is preferred to
                the sex in the file; a contradiction is one of the `notes`.
            name: name of the radiograph in results; the path by default.

        Raises:
            RadiographError: the file is missing, damaged, too large, not PNG, JPEG or DICOM, or a
                DICOM file that shows no radiograph or cannot be decoded.
            InputError: the sex is unknown.
        """
        label = name or (ARRAY if isinstance(source, bytes) else str(source))
        given = sex_name(sex)
        data = source if isinstance(source, bytes) else reading.read_file(source, label)
        suffix = Path(label if isinstance(source, bytes) else source).suffix
        if not dicom.is_dicom(data, suffix):
            return cls(reading.read_radiograph(data, label), label, given)
        image = dicom.read_dicom(data, label)
        facts = image.facts
        return cls(
            image.pixels,
            label,
            facts.sex if given is None else given,
            facts.chronological_age_months,
            facts.side,
            image.pixel_spacing_mm,
            study=facts.study,
            notes=(*image.notes, *sex_conflict(facts.sex, given)),
            sex_source=schema.FROM_FILE if given is None else schema.FROM_FLAG,
            chronological_age_error_months=facts.age_error_months,
            height_cm=facts.height_cm,
        )

    @classmethod
    def from_array(
        cls, array: np.ndarray, sex: str | int | None = None, name: str = ARRAY
    ) -> "Radiograph":
        """Takes an array as a radiograph.

        Args:
            array: [H, W], [H, W, 1], or colour [H, W, 3] in the order red, green, blue. uint8 and
                floating point: 0 to 255. Other integers are scaled by their own range, as files
                of 16 bits are.
            sex: see `open`.
            name: name of the radiograph in results.

        Raises:
            InputError: the array has another shape or type, values outside the range or values that
                are not finite, or the sex is unknown.
        """
        array = np.asarray(array)
        if array.ndim == 3 and array.shape[-1] in (1, 3):
            array = array[..., 0] if array.shape[-1] == 1 else array @ np.array(decoding.LUMA)
        if array.ndim != 2 or not array.size:
            raise InputError(
                f"the array has shape {array.shape}; give [H, W], [H, W, 1] or [H, W, 3]"
            )
        if array.dtype.kind in "iu" and array.dtype != np.uint8:
            if array.min() < 0:
                raise InputError("the array has negative values; shift it to 0 or more")
            return cls(decoding.scale_sixteen_bit(array.astype(np.float32)), name, sex_name(sex))
        if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            raise InputError(f"the array of {array.dtype} holds values that are not finite numbers")
        if array.min() < 0 or array.max() > 255:
            raise InputError(
                f"the array of {array.dtype} holds values from {array.min():g} to "
                f"{array.max():g}; floating-point pixels must lie between 0 and 255"
            )
        return cls(array.astype(np.float32), name, sex_name(sex))

    def replace(self, **changes: object) -> "Radiograph":
        """Returns a copy with some attributes changed; a new sex or age counts as given."""
        if schema.SEX in changes:
            changes = {"sex_source": None, **changes}
        if schema.CHRONOLOGICAL_AGE_MONTHS in changes:
            changes = {"chronological_age_error_months": 0.0, **changes}
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def sex_conflict(stated: str | None, given: str | None) -> tuple[str, ...]:
    """Returns a note if the sex in a file, female or male, is not the one that was given."""
    if stated is None or given is None or stated == given:
        return ()
    return (f"{reasons.SEX_CONFLICT}: {stated} in the file, {given} was given and used",)


def given_number(parse: Callable[[float], float], value: float | None) -> float | None:
    """Returns a number that `parse` accepts, None for None.

    Args:
        parse: a function of `schema` that raises a ValueError for values that are not possible.
        value: the number.

    Raises:
        InputError: the number is not possible.
    """
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        raise InputError(str(error)) from None


def sex_name(sex: str | int | None) -> str | None:
    """Returns female or male for a word or a code of `schema`, None for None or an empty text.

    Raises:
        InputError: the sex is unknown.
    """
    if sex is None or sex == "":
        return None
    if isinstance(sex, str):
        try:
            return schema.SEX_NAMES[schema.parse_sex(sex)]
        except ValueError as error:
            raise InputError(str(error)) from None
    if sex not in range(len(schema.SEX_NAMES)):
        raise InputError(f"sex is {sex!r}; give {' or '.join(schema.SEX_NAMES)}")
    return schema.SEX_NAMES[int(sex)]

"""Stress test: changes of the predicted bone age under transformations of the radiograph.

There are 33 transformations in eleven families. The predictions of the winner of the RSNA challenge
of 2017 change in clinically significant ways under 19 of 33 transformations (Santomartino et al.
2024); the list here is this project's. Strengths are fractions of the image's side or of its range
of grey levels, so that they do not depend on the image size.

NumPy and OpenCV only.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np

FAR_MONTHS: Final = 12.0
"""Change in months above which the prediction for a case counts as changed."""
MAE_LIMIT_MONTHS: Final = 1.0
"""Maximum change of the MAE in months; a transformation with a larger change is failed."""
FAR_SHARE_LIMIT: Final = 0.02
"""Maximum share of changed cases; a transformation with a larger share is failed."""

Transformation = Callable[[np.ndarray], np.ndarray]
"""Maps an image [H, W] float32, 0 to 255, to such an image, possibly of another size."""


@dataclasses.dataclass(frozen=True)
class StressResult:
    """Effect of one transformation on the predictions.

    Attributes:
        family: family of the transformation.
        n: number of cases with a prediction both before and after.
        refused: number of cases with a prediction before and none after.
        mae_before: mean absolute error in months before; None if no ages are known.
        mae_after: mean absolute error in months of the same cases after.
        mean_move: mean absolute change of the prediction in months.
        far_share: share of the cases with a prediction before whose prediction changes by more
            than `FAR_MONTHS` or that are rejected.
    """

    family: str
    n: int
    refused: int
    mae_before: float
    mae_after: float
    mean_move: float
    far_share: float

    @property
    def failed(self) -> bool:
        """Whether a limit is exceeded."""
        change = abs(self.mae_after - self.mae_before)
        return not (change <= MAE_LIMIT_MONTHS and self.far_share <= FAR_SHARE_LIMIT)


def compare_answers(
    family: str, before: np.ndarray, after: np.ndarray, age_months: np.ndarray
) -> StressResult:
    """Measures the effect of one transformation.

    Args:
        family: family of the transformation.
        before: [N] predictions in months on the original images; NaN for rejected images.
        after: [N] predictions on the transformed images; NaN for rejected images.
        age_months: [N] true bone ages.
    """
    answered = np.isfinite(before)
    both = answered & np.isfinite(after)
    move = np.abs(after - before)[both]

    def mean(values: np.ndarray) -> float:
        return float(values.mean()) if values.size else float("nan")

    return StressResult(
        family,
        int(both.sum()),
        int((answered & ~both).sum()),
        mean(np.abs(before - age_months)[both]),
        mean(np.abs(after - age_months)[both]),
        mean(move),
        mean(~(np.abs(after - before)[answered] <= FAR_MONTHS)),
    )


def stress_table(results: Mapping[str, StressResult]) -> str:
    """Returns a Markdown table in the given order and the number of failed transformations."""
    lines = [
        "| family | transformation | n | refused | MAE before | after | mean move | "
        f"over {FAR_MONTHS:g} months or refused | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        lines.append(
            f"| {result.family} | {name} | {result.n} | {result.refused} | "
            f"{result.mae_before:.2f} | {result.mae_after:.2f} | {result.mean_move:.2f} | "
            f"{result.far_share:.1%} | {'failed' if result.failed else ''} |"
        )
    failed = sum(result.failed for result in results.values())
    lines.append(f"\n{failed} of {len(results)} failed")
    return "\n".join(lines)


def _rotate(degrees: float) -> Transformation:
    def rotate(image: np.ndarray) -> np.ndarray:
        height, width = image.shape
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
        cos, sin = abs(matrix[0, 0]), abs(matrix[0, 1])
        wide, high = round(width * cos + height * sin), round(width * sin + height * cos)
        matrix[:, 2] += (wide - width) / 2, (high - height) / 2  # nothing is cut off
        return cv2.warpAffine(image, matrix, (wide, high), flags=cv2.INTER_LINEAR)

    return rotate


def _turn(quarters: int) -> Transformation:
    return lambda image: np.ascontiguousarray(np.rot90(image, quarters))


def _brightness(share: float) -> Transformation:
    return lambda image: np.clip(image + share * 255, 0, 255)


def _contrast(factor: float) -> Transformation:
    return lambda image: np.clip((image - image.mean()) * factor + image.mean(), 0, 255)


def _resolution(side_px: int) -> Transformation:
    """Returns a transformation that reduces the longer side to a number of pixels."""

    def shrink(image: np.ndarray) -> np.ndarray:
        scale = min(1.0, side_px / max(image.shape))
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    return shrink


def _jpeg(quality: int) -> Transformation:
    def compress(image: np.ndarray) -> np.ndarray:
        pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)

    return compress


def _blur(share: float) -> Transformation:
    def blur(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (0, 0), max(1e-3, share * max(image.shape)))

    return blur


def _noise(share: float) -> Transformation:
    def noise(image: np.ndarray) -> np.ndarray:
        random = np.random.default_rng(0)
        grain = random.normal(0, share * 255, image.shape).astype(np.float32)
        return np.clip(image + grain, 0, 255)

    return noise


def _crop(share: float) -> Transformation:
    def crop(image: np.ndarray) -> np.ndarray:
        y, x = (round(side * share) for side in image.shape)
        return np.ascontiguousarray(image[y : image.shape[0] - y, x : image.shape[1] - x])

    return crop


def _border(share: float, grey: float) -> Transformation:
    def frame(image: np.ndarray) -> np.ndarray:
        y, x = (round(side * share) for side in image.shape)
        return np.pad(image, ((y, y), (x, x)), constant_values=grey)

    return frame


def _box(top: float, left: float, side: float) -> Transformation:
    """Returns a transformation that covers a square (fractions of the sides) with black."""

    def cover(image: np.ndarray) -> np.ndarray:
        height, width = image.shape
        covered = image.copy()
        covered[
            round(top * height) : round((top + side) * height),
            round(left * width) : round((left + side) * width),
        ] = 0
        return covered

    return cover


def _marker(text: str, top: float, left: float, size: float) -> Transformation:
    """Returns a transformation that adds white text; `size` is a fraction of the image's height."""

    def mark(image: np.ndarray) -> np.ndarray:
        height, width = image.shape
        marks = np.zeros(image.shape, np.uint8)
        font = cv2.FONT_HERSHEY_SIMPLEX
        thick = max(1, round(size * height / 6))
        scale = cv2.getFontScaleFromHeight(font, max(3, round(size * height)), thick)
        place = (round(left * width), round((top + size) * height))
        cv2.putText(marks, text, place, font, scale, (255,), thick, cv2.LINE_AA)
        return np.maximum(image, marks.astype(np.float32))

    return mark


def _ruler(image: np.ndarray) -> np.ndarray:
    """Adds a scale of white ticks along the left edge."""
    height, width = image.shape
    marked = image.copy()
    for place in range(21):
        y = round((0.1 + 0.04 * place) * (height - 1))
        long = 0.06 if place % 5 == 0 else 0.03
        marked[y : y + max(1, height // 200), : max(1, round(long * width))] = 255
    return marked


STRESS: Final[dict[str, tuple[str, Transformation]]] = {
    "20 degrees clockwise": ("rotation", _rotate(-20)),
    "10 degrees clockwise": ("rotation", _rotate(-10)),
    "10 degrees": ("rotation", _rotate(10)),
    "20 degrees": ("rotation", _rotate(20)),
    "a quarter turn": ("rotation", _turn(1)),
    "upside down": ("rotation", _turn(2)),
    "a quarter turn clockwise": ("rotation", _turn(3)),
    "mirrored": ("flips", lambda image: np.ascontiguousarray(image[:, ::-1])),
    "flipped top to bottom": ("flips", lambda image: np.ascontiguousarray(image[::-1])),
    "brighter by 10 %": ("brightness", _brightness(0.1)),
    "brighter by 20 %": ("brightness", _brightness(0.2)),
    "darker by 10 %": ("brightness", _brightness(-0.1)),
    "darker by 20 %": ("brightness", _brightness(-0.2)),
    "half the contrast": ("contrast", _contrast(0.5)),
    "three quarters of the contrast": ("contrast", _contrast(0.75)),
    "contrast by 1.25": ("contrast", _contrast(1.25)),
    "contrast by 1.5": ("contrast", _contrast(1.5)),
    "inverted": ("inversion", lambda image: 255.0 - image),
    "shrunk to 384 px": ("resolution", _resolution(384)),
    "shrunk to 192 px": ("resolution", _resolution(192)),
    "JPEG of quality 30": ("resolution", _jpeg(30)),
    "blurred by 1/400": ("blur", _blur(1 / 400)),
    "blurred by 1/200": ("blur", _blur(1 / 200)),
    "noise of 2 %": ("noise", _noise(0.02)),
    "noise of 5 %": ("noise", _noise(0.05)),
    "cropped by 3 %": ("crop", _crop(0.03)),
    "cropped by 6 %": ("crop", _crop(0.06)),
    "a black border of 15 %": ("crop", _border(0.15, 0.0)),
    "a finger tip covered": ("occlusion", _box(0.05, 0.45, 0.1)),
    "a corner covered": ("occlusion", _box(0.0, 0.75, 0.25)),
    "a letter": ("markers", _marker("L", 0.05, 0.05, 0.08)),
    "name and date": ("markers", _marker("R 12.03.", 0.9, 0.55, 0.04)),
    "a ruler": ("markers", _ruler),
}
"""Family and transformation by name of the transformation."""

"""A model that reads hands in their frame: the page finds the hand where the reader finds it."""

import csv
import io
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import Bundle
from bone_age_tf.inference.cases import Case
from bone_age_tf.reader import Reader
from bone_age_tf.reasons import TEXTS, Reason
from bone_age_tf.regions.framing import HandFramer
from bone_age_tf.regions.proportions import DIGIT_JOINTS
from bone_age_tf.web.build import build_page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def framed(exports, root, tmp_path_factory):
    """The light model, whose age is half the mean grey, as one that reads hands in their frame."""
    folder = tmp_path_factory.mktemp("framed")
    shutil.copytree(exports / "bins", folder / "bins")
    for name in ("film_check", "region_detector"):
        shutil.copytree(root / "exports" / name, folder / name)
    path = folder / "bins" / "1" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["preprocessing"]["resize"] = "frame"
    path.write_text(json.dumps(metadata))
    return Bundle.open(path.parent)


def without_finger(hand, plain, exports_dir):
    """Paints the ground over the middle finger."""
    places = HandFramer(exports_dir).find(hand.astype(np.float32)).places
    knuckle, middle, last = (places[place] for place in DIGIT_JOINTS[2])
    line = np.array([knuckle + 0.4 * (middle - knuckle), last + 1.5 * (last - middle)]).round()
    return cv2.polylines(hand.copy(), [line.astype(np.int32)], False, (plain,), 18)


@pytest.fixture(scope="module")
def films(hands, root, tmp_path_factory):
    """Hands in many positions and large, and what is no whole hand."""
    folder = tmp_path_factory.mktemp("films")
    hand, other = (np.asarray(Image.open(hands[place]).resize((220, 256))) for place in (2, 5))
    plain = int(np.median(hand[:10]))

    def turned(degrees, film=hand):
        matrix = cv2.getRotationMatrix2D((110, 128), degrees, 0.8)
        matrix[:, 2] += (70, 40)
        return cv2.warpAffine(film, matrix, (360, 340), borderValue=plain)

    found = {
        "as it is": hand,
        "turned": turned(48),
        "mirrored": np.ascontiguousarray(other[:, ::-1]),
        "mirrored and turned": turned(-70, np.ascontiguousarray(hand[:, ::-1])),
        "upside down": np.ascontiguousarray(other[::-1, ::-1]),
        "inverted": 255 - hand,
        "faint": (170 + hand / 5).astype(np.uint8),
        "large": cv2.resize(other, (1500, 1700)),
        "half": hand[:110],
        "without the wrist": hand[:196],
        "without a finger": without_finger(hand, plain, root / "exports"),
        "two": np.hstack([hand, hand[:, ::-1]]),
        "noise": np.random.default_rng(0).integers(0, 255, (99, 80)).astype(np.uint8),
    }
    for name, film in found.items():
        Image.fromarray(film).save(folder / f"{name}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("quality_check", [True, False])
def test_it_answers_as_the_reader_does(
    visit, serve, modules, framed, films, tmp_path, quality_check
):
    page = build_page(framed, tmp_path / "page", quality_check=quality_check, compress=False)
    reader = Reader(framed, quality_check=quality_check)
    with serve(page.folder) as url:
        found = visit(url)
        found.read(*films, sex="male")
        table = list(csv.DictReader(io.StringIO(found.csv().decode(), newline="")))
    results = reader.read_table([Case(path.name, path, 1) for path in films], progress=False)
    two = next(result for result in results if result.source == "two.png")
    assert (two.status == "rejected") == quality_check
    lacking = next(result for result in results if result.source == "without a finger.png")
    assert (lacking.note == TEXTS[Reason.LACKS_DIGIT]) == quality_check
    for row, result in zip(table, results, strict=True):
        assert (row["status"], row["reason"]) == (result.status, result.note), row
        if result.status == "ok":
            months = float(row["bone_age_months"])
            assert months == pytest.approx(result.age_months, abs=0.3), row
    assert sum(result.status == "ok" for result in results) >= 5

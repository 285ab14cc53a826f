"""Is the hand found wherever it lies? Held-out annotated radiographs in many positions.

python benchmarks/hand_positions.py --boxes=../shared/ossification_roi \
    --manual_dir=../shared/rsna_bone_age_299px

Each held-out radiograph is read as it is, mirrored, turned by any angle, half as large inside a lit
cassette frame with a white edge and a caption, and so turned and mirrored. Columns: radiographs x
variants; share with all 14 finger joints within 5 and 3 percent of the hand's height; share with
five or more joints farther off; of those not within 5 percent, how many the detector doubts; of
those within, how many it doubts needlessly; share with the right side; milliseconds each.
"""

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import cv2
import numpy as np

from bone_age_tf.bundle import load_region_detector
from bone_age_tf.images import resizing
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import frame, proportions
from bone_age_tf.regions.boxes import RegionImages

SOURCE_PX = 640
"""Side of the squares in which the radiographs are read; none of them has a longer side."""
TURNS = 3
JOINTS = list(proportions.FINGER_JOINTS)
LEAST_WITHIN, MOST_FIVE_WRONG, LEAST_KNOWN = 0.97, 0.01, 0.9


def turned(side_px: int, degrees: float, scale: float = 1.0) -> np.ndarray:
    """Returns [2, 3] that turns and scales a square of that side about its middle."""
    return cv2.getRotationMatrix2D(((side_px - 1) / 2,) * 2, degrees, scale)


def variants(
    image: np.ndarray, places: np.ndarray, random: np.random.Generator
) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """Yields name, image, places [17, 2] (x, y) in pixels and whether it is mirrored.

    Args:
        image: [H, W] float32, the radiograph of a left hand.
        places: [17, 2] (x, y) in its pixels.
        random: of angles, frames and places.
    """
    width = image.shape[1]
    flipped = np.ascontiguousarray(image[:, ::-1])
    flipped_places = np.stack([width - places[:, 0], places[:, 1]], axis=1)
    sides = [(image, places, False), (flipped, flipped_places, True)]
    yield "as it is", *sides[0]
    yield "mirrored", *sides[1]
    for name, group in (("turned", sides[:1]), ("turned, mirrored", sides[1:])):
        for seen, at, is_mirrored in group * TURNS:
            yield name, *moved(seen, at, random.uniform(-180, 180)), is_mirrored
    for name, group in (("half, lit frame", sides[:1]), ("half, lit frame, mirrored", sides[1:])):
        for seen, at, is_mirrored in group:
            yield name, *in_lit_frame(seen, at, random), is_mirrored
    for _ in range(TURNS):
        small, small_places = in_lit_frame(image, places, random)
        turn = random.uniform(-180, 180)
        yield "half, lit frame, turned", *moved(small, small_places, turn), False


def moved(image: np.ndarray, places: np.ndarray, degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the image turned on a canvas that holds all of it, and its places."""
    side = int(np.ceil(np.hypot(*image.shape)))
    matrix = turned(side, degrees)
    shift = (side - np.array(image.shape[::-1])) / 2
    matrix[:, 2] += matrix[:, :2] @ shift
    canvas = cv2.warpAffine(image, matrix, (side, side))
    return canvas, (places - 0.5) @ matrix[:, :2].T + matrix[:, 2] + 0.5


def in_lit_frame(
    image: np.ndarray, places: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the radiograph half as large somewhere inside a bright cassette, and its places."""
    height, width = image.shape
    canvas = np.full((height, width), random.uniform(90, 255), np.uint8)
    small = cv2.resize(
        resizing.to_uint8(image), (width // 2, height // 2), interpolation=cv2.INTER_AREA
    )
    top = int(random.integers(0, height - small.shape[0] + 1))
    left = int(random.integers(0, width - small.shape[1] + 1))
    bottom, right = top + small.shape[0], left + small.shape[1]
    canvas[top:bottom, left:right] = small
    edge = int(random.integers(1, 5))
    cv2.rectangle(canvas, (left, top), (right, bottom), (255.0,), edge)
    line = int(random.uniform(0.04, 0.98) * height)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(canvas, "PORT L HAND 58KV", (8, line), font, 0.4, (random.uniform(0, 255),))
    scale = np.array([small.shape[1] / width, small.shape[0] / height])
    return canvas.astype(np.float32), places * scale + [left, top]


def hand_height(boxes: np.ndarray, places: np.ndarray) -> float:
    """Returns the height of the annotated hand along its own axis in pixels.

    Args:
        boxes: [17, 4] in pixels.
        places: [17, 2], their middles (x, y).
    """
    down = proportions.upright(places)[1]
    halves = 0.5 * np.abs(boxes[:, 2:] - boxes[:, :2])[:, ::-1]
    own, reach = places @ down, halves @ np.abs(down)
    return float((own + reach).max() - (own - reach).min())


def unpadded(hands: RegionImages) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields each radiograph [H, W] float32 without its padding, and its boxes in pixels."""
    for image, boxes in zip(hands.images, hands.boxes, strict=True):
        side = image.shape[0]
        rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
        top, left = rows[0], columns[0]
        cut = image[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float32)
        yield cut, boxes.astype(np.float64) * side - np.array([top, left, top, left])


def main() -> None:
    """Measures the newest exported detector and prints a table and what was to be reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=Path, required=True, help="Pascal VOC files")
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--seed", type=int, default=0, help="of the angles and frames")
    parser.add_argument("--list", action="store_true", help="name what is not within 5 percent")
    options = parser.parse_args()
    detector = load_region_detector(options.exports_dir)
    if detector is None:
        parser.error(f"no region detector in {options.exports_dir}")
    builder = prepare_dataset("rsna_bone_age/px512", options.data_dir, options.manual_dir)
    hands = region_boxes.read_annotated(builder, options.boxes, SOURCE_PX, resize="pad")
    out = region_boxes.held_out(hands.image_id)
    hands = hands.chosen(np.array([name in out for name in hands.image_id]))
    random = np.random.default_rng(options.seed)
    rows: dict[str, list[tuple[np.ndarray, bool, bool, float]]] = {}
    for name, (image, boxes) in zip(hands.image_id, unpadded(hands), strict=True):
        places = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, ::-1]
        for variant, seen, true, is_mirrored in variants(image, places, random):
            height = (
                hand_height(boxes, places)
                * proportions.palm_length(true)
                / proportions.palm_length(places)
            )
            start = time.perf_counter()
            hand = frame.find_hand(seen, detector)
            seconds = time.perf_counter() - start
            errors = np.linalg.norm(hand.places - true, axis=1)[JOINTS] / height
            row = (errors, hand.has_certain_joints, hand.mirrored == is_mirrored, seconds)
            rows.setdefault(variant, []).append(row)
            if options.list and errors.max() > 0.05:
                print(f"{name} {variant}: worst {errors.max():.2f}, doubt {hand.doubt:.2f}")
    print_table(rows)


def print_table(rows: dict[str, list[tuple[np.ndarray, bool, bool, float]]]) -> None:
    """Prints a row a variant, their sum and what was to be reached."""
    print(f"{'variant':28}{'n':>5}{'in 5 %':>8}{'in 3 %':>8}{'5 wrong':>9}", end="")
    print(f"{'wrong, doubted':>16}{'right, doubted':>16}{'side':>7}{'ms':>6}")
    rows = {**rows, "all": [row for group in rows.values() for row in group]}
    for name, group in rows.items():
        errors = np.stack([row[0] for row in group])
        certain, side = (np.array([row[place] for row in group]) for place in (1, 2))
        within, five = (errors <= 0.05).all(axis=1), (errors > 0.05).sum(axis=1) >= 5
        known = f"{(~within & ~certain).sum()} of {(~within).sum()}"
        needless = f"{(within & ~certain).sum()} of {within.sum()}"
        close = (errors <= 0.03).all(axis=1).mean()
        milliseconds = 1000 * float(np.median([row[3] for row in group]))
        print(
            f"{name:28}{len(group):5}{within.mean():8.3f}{close:8.3f}{five.mean():9.3f}"
            f"{known:>16}{needless:>16}{side.mean():7.3f}{milliseconds:6.0f}"
        )
    share = (~within & ~certain).sum() / max(1, (~within).sum())
    for good, text in (
        (within.mean() >= LEAST_WITHIN, f"all joints within 5 % in >= {LEAST_WITHIN}"),
        (five.mean() <= MOST_FIVE_WRONG, f"five or more wrong in <= {MOST_FIVE_WRONG}"),
        (share >= LEAST_KNOWN or within.all(), f"of the wrong ones doubted >= {LEAST_KNOWN}"),
    ):
        print(f"{'ok  ' if good else 'MISS'}  {text}")


if __name__ == "__main__":
    main()

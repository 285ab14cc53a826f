"""Are unusual radiographs read, and incomplete hands and other bones rejected?

python benchmarks/unusual_radiographs.py --input=cases.csv

Makes radiographs as clinics have them out of those of a table: a lit cassette frame, a caption, a
hand in a corner, a long forearm, any rotation, poor exposures, a phone's photograph, casts and
rings; hands without a finger or the wrist; and drawn feet, elbows and chests. For each kind the
script prints how many are rejected by the quality check of a model that reads hands in their frame,
how many are read in the frame and how many as a whole, how many have the right rotation and side,
and the most frequent rejection and note. --sheet=FILE.png shows one of each kind.
"""

import argparse
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from bone_age_tf import schema
from bone_age_tf.bundle import load_quality_checker
from bone_age_tf.evaluation import audit_plots
from bone_age_tf.images import reading, resizing
from bone_age_tf.inference.cases import collect_cases
from bone_age_tf.regions.frame import Hand
from bone_age_tf.regions.framing import HandFramer
from bone_age_tf.regions.proportions import upright

Random = np.random.Generator
Variant = Callable[[np.ndarray, Hand, Random], np.ndarray]
RIGHT_WITHIN_DEGREES = 15.0


def place_of(hand: Hand, name: str) -> np.ndarray:
    """Returns (x, y) of a region in pixels."""
    return hand.places[schema.REGIONS.index(name)]


def ground(image: np.ndarray) -> float:
    """Returns the grey level of the background."""
    return float(np.percentile(image, 5))


def cassette_frame(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Puts the film into a dark cassette with a lit frame."""
    width = image.shape[1]
    wide = round(0.12 * width)
    lit = np.pad(image, wide, constant_values=float(random.uniform(200, 255)))
    return np.pad(lit, round(0.08 * width), constant_values=float(random.uniform(0, 30)))


def collimation(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Adds white edges of unexposed film at two sides, one oblique."""
    height, width = image.shape
    wide = np.pad(image, ((0, 0), (width // 6, width // 6)), constant_values=ground(image))
    mask = np.zeros(wide.shape, np.uint8)
    slope = float(random.uniform(0, 0.08)) * width
    corners = [(0, 0), (width / 9 + slope, 0), (width / 9 - slope, height), (0, height)]
    cv2.fillPoly(mask, [np.array(corners, np.int32)], (1,))
    if random.random() < 0.5:
        mask = np.ascontiguousarray(mask[:, ::-1])
    return np.where(mask > 0, np.float32(250), wide)


def caption(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Adds a white box with text in a corner, beside the hand."""
    height, width = image.shape
    out = np.pad(image, ((height // 7, 0), (0, 0)), constant_values=ground(image))
    box = round(0.45 * width), round(0.12 * height)
    left = 0 if random.random() < 0.5 else width - box[0]
    label = np.full(box[::-1], 245, np.uint8)
    size = box[0] / 300
    for line, words in enumerate(("PATIENT 0000", "LEFT HAND AP")):
        at = 8, round((0.4 + 0.4 * line) * box[1])
        cv2.putText(label, words, at, cv2.FONT_HERSHEY_SIMPLEX, size, (10.0,), 2, cv2.LINE_AA)
    out[: box[1], left : left + box[0]] = label
    return out


def corner(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Puts a small hand into a corner of a black film."""
    height, width = image.shape
    out = np.zeros((round(2.2 * height), round(2.2 * width)), np.float32)
    top = 0 if random.random() < 0.5 else out.shape[0] - height
    left = 0 if random.random() < 0.5 else out.shape[1] - width
    out[top : top + height, left : left + width] = image
    return out


def forearm(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Lengthens the forearm by three quarters of the film."""
    rows = np.repeat(image[-6:].mean(axis=0, keepdims=True), round(0.75 * len(image)), axis=0)
    return np.vstack([image, np.clip(rows + random.normal(0, 3, rows.shape), 0, 255)])


def rotated(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Rotates by any angle on a larger film."""
    height, width = image.shape
    side = int(np.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-180, 180), 1)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(image, matrix, (side, side), borderValue=(ground(image),))


def mirrored(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Mirrors."""
    return np.ascontiguousarray(image[:, ::-1])


def upside_down(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Turns by 180 degrees, the forearm at the upper edge."""
    return np.ascontiguousarray(image[::-1, ::-1])


def faint(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Reduces the contrast to a quarter and adds noise."""
    level = random.uniform(20, 180)
    return np.clip(level + image / 4 + random.normal(0, 3, image.shape), 0, 255).astype(np.float32)


def saturated(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Makes the brightest third of the tones white."""
    return np.minimum(image * random.uniform(1.4, 1.8), 255).astype(np.float32)


def dark(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Makes a fifth of the range black: soft tissue disappears."""
    return np.maximum(image - 51, 0)


def inverted(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Inverts the grey levels."""
    return 255 - image


def cut_at_tips(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Cuts the tip of the longest finger, within its last bone."""
    last, before = place_of(hand, "DIP3"), place_of(hand, "PIP3")
    return image[max(0, round(last[1] - 0.5 * (before[1] - last[1]))) :]


def cut_forearm(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Cuts the forearm just below the ends of radius and ulna."""
    ends = max(place_of(hand, "radius")[1], place_of(hand, "ulna")[1])
    palm = abs(place_of(hand, "wrist")[1] - place_of(hand, "MCP3")[1])
    return image[: round(ends + 0.1 * palm)]


def cut_thumb(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Cuts the tip of the thumb."""
    x = place_of(hand, "PIP1")[0]
    right = x > place_of(hand, "wrist")[0]
    palm = abs(place_of(hand, "wrist")[1] - place_of(hand, "MCP3")[1])
    if right:
        return image[:, : round(x + 0.12 * palm)]
    return image[:, max(0, round(x - 0.12 * palm)) :]


def phone(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Photographs a film on a light box: perspective, uneven light, glare, blur, a room around."""
    height, width = image.shape
    away = 0.06 * np.array([width, height])
    start = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    end = (start + random.uniform(-1, 1, (4, 2)) * away + 2.2 * away).astype(np.float32)
    size = round(1.28 * width), round(1.28 * height)
    matrix = cv2.getPerspectiveTransform(start, end)
    room = float(random.uniform(40, 220))
    out = cv2.warpPerspective(image, matrix, size, borderValue=(room,))
    y, x = np.mgrid[: size[1], : size[0]] / max(size)
    light = 0.75 + 0.4 * (random.uniform(-1, 1) * x + random.uniform(-1, 1) * y)
    glare = np.exp(-((x - random.uniform()) ** 2 + (y - random.uniform()) ** 2) / 0.01)
    out = cv2.GaussianBlur(out, (0, 0), 0.002 * max(size))
    return np.clip(out * light + 60 * glare + 10, 0, 255).astype(np.float32)


def cast(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Puts a plaster cast around forearm, wrist and palm."""
    height = len(image)
    fibres = cv2.GaussianBlur(random.normal(0, 40, image.shape), (0, 0), 0.004 * height)
    top = (place_of(hand, "MCP3")[1] + place_of(hand, "wrist")[1]) / 2
    inside = np.clip((np.arange(height)[:, None] - top) / (0.02 * height), 0, 1)
    thick = inside * (cv2.GaussianBlur(image, (0, 0), 0.02 * height) > ground(image) + 15)
    return np.clip(image + thick * (55 + fibres), 0, 255).astype(np.float32)


def ring(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Puts a metal ring around the proximal bone of the ring finger."""
    start, end = place_of(hand, "MCP4"), place_of(hand, "PIP4")
    middle, along = (start + end) / 2, end - start
    length = float(np.hypot(*along))
    angle = float(np.degrees(np.arctan2(along[1], along[0])) + 90)
    out, axes = image.copy(), (round(0.3 * length), round(0.08 * length))
    centre = round(middle[0]), round(middle[1])
    cv2.ellipse(out, centre, axes, angle, 0, 360, (255.0,), max(2, round(0.06 * length)))
    return out


def without_finger(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Replaces one finger from its first joint by background, as after an amputation."""
    finger = int(random.integers(2, 6))
    start = place_of(hand, f"MCP{finger}")
    middle, last = place_of(hand, f"PIP{finger}"), place_of(hand, f"DIP{finger}")
    tip = last + 1.3 * (last - middle)
    line = np.array([start + 0.35 * (middle - start), middle, last, tip])
    mask = np.zeros(image.shape, np.uint8)
    wide = max(3, round(0.9 * float(np.hypot(*(middle - last)))))
    cv2.polylines(mask, [np.round(line).astype(np.int32)], False, (255,), wide)
    soft = cv2.GaussianBlur(mask, (0, 0), 0.004 * len(image)).astype(np.float32) / 255
    return image * (1 - soft) + ground(image) * soft


def without_wrist(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Cuts the film above the wrist."""
    wrist, knuckle = place_of(hand, "wrist"), place_of(hand, "MCP3")
    return image[: round(wrist[1] + 0.15 * (knuckle[1] - wrist[1]))]


def _tissue(shape: tuple[int, int], parts: list[tuple]) -> np.ndarray:
    """Draws lines (x, y, x, y, thickness, grey) in fractions of the width, thick before thin."""
    image = np.zeros(shape, np.float32)
    side = shape[1]
    for left, top, right, bottom, thick, grey in parts:
        ends = (round(left * side), round(top * side)), (round(right * side), round(bottom * side))
        cv2.line(image, *ends, (float(grey),), max(1, round(thick * side)), cv2.LINE_AA)
        if grey > 110:  # a bone is darker inside
            inner = max(1, round(0.6 * thick * side))
            cv2.line(image, *ends, (0.75 * grey,), inner, cv2.LINE_AA)
    return image


def _finished(image: np.ndarray, random: Random) -> np.ndarray:
    blurred = cv2.GaussianBlur(image, (0, 0), 0.004 * len(image))
    return np.clip(blurred + random.normal(0, 4, image.shape) + 8, 0, 255).astype(np.float32)


def foot(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Draws a foot from above: five toes of similar length, metatarsals, tarsals and the heel."""
    parts: list[tuple] = [(0.5, 0.55, 0.45, 1.4, 0.5, 70), (0.5, 0.5, 0.5, 0.9, 0.6, 70)]
    for toe in range(5):
        x, length = 0.26 + 0.12 * toe, 0.1 + 0.02 * toe
        end = x - 0.02 * (2 - toe)
        top = 0.34 - length - 0.03 * toe + random.uniform(-0.01, 0.01)
        parts.append((x, 0.4, end, top, 0.09 + 0.02 * (toe == 4), 60))
    for toe in range(5):
        x, wide = 0.26 + 0.12 * toe, 0.035 + 0.02 * (toe == 4)
        base, head = 0.78, 0.42 - 0.02 * toe
        parts.append((0.36 + 0.07 * toe, base, x, head, wide, 190))
        y = head - 0.03
        for bone in range(2 if toe == 4 else 3):
            step = 0.08 if bone == 0 else 0.035
            parts.append((x, y, x, y - step, wide, 180))
            y -= step + 0.03
    for _ in range(6):
        x, y = random.uniform(0.35, 0.62), random.uniform(0.84, 1.05)
        parts.append((x, y, x + 0.04, y + 0.04, 0.1, 170))
    parts.append((0.47, 1.1, 0.45, 1.36, 0.2, 180))
    return _finished(_tissue((640, 420), parts), random)


def elbow(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Draws an elbow: the humerus above, radius and ulna below at an angle."""
    bend = random.uniform(-0.35, 0.35)
    parts: list[tuple] = [(0.5, 0, 0.5, 0.75, 0.45, 70), (0.5, 0.75, 0.5 + bend, 1.5, 0.4, 70)]
    parts += [(0.5, 0, 0.5, 0.66, 0.13, 200), (0.4, 0.68, 0.6, 0.68, 0.14, 190)]
    parts += [(0.43, 0.8, 0.44 + bend, 1.5, 0.09, 195), (0.57, 0.76, 0.57 + bend, 1.5, 0.1, 200)]
    return _finished(_tissue((620, 420), parts), random)


def chest(image: np.ndarray, hand: Hand, random: Random) -> np.ndarray:
    """Draws a chest: spine, ribs, clavicles, heart and diaphragm around dark lungs."""
    out = np.full((520, 480), 150, np.float32)
    for x in (150, 330):
        cv2.ellipse(out, (x, 260), (95, 200), 0, 0, 360, (40.0,), -1)
    cv2.ellipse(out, (265, 330), (80, 90), 20, 0, 360, (170.0,), -1)
    cv2.line(out, (240, 0), (240, 520), (200.0,), 44)
    for rib in range(9):
        y = 70 + 42 * rib + int(random.integers(-4, 5))
        for side in (-1, 1):
            centre = 240 + side * 90, y + 30
            cv2.ellipse(out, centre, (105, 46), 15 * side, 180, 360, (120.0,), 9)
    for side in (-1, 1):
        cv2.line(out, (240 + 20 * side, 70), (240 + 190 * side, 40), (190.0,), 16)
    return _finished(out, random)


READ: dict[str, Variant] = {
    "as it is": lambda image, hand, random: image,
    "lit cassette frame": cassette_frame,
    "white collimation edge": collimation,
    "caption box": caption,
    "small in a corner": corner,
    "long forearm": forearm,
    "rotated by any angle": rotated,
    "mirrored": mirrored,
    "upside down": upside_down,
    "inverted": inverted,
    "faint": faint,
    "dark": dark,
    "saturated": saturated,
    "fingertip cut": cut_at_tips,
    "thumb tip cut": cut_thumb,
    "forearm cut": cut_forearm,
    "photographed with a phone": phone,
    "cast": cast,
    "ring": ring,
}
REJECTED: dict[str, Variant] = {
    "without a finger": without_finger,
    "without the wrist": without_wrist,
    "foot (drawn)": foot,
    "elbow (drawn)": elbow,
    "chest (drawn)": chest,
}
"""What should be read, or read with a note; and what should be rejected."""


def expected_view(name: str, hand: Hand) -> tuple[float, bool] | None:
    """Returns the angle in degrees and side at which a hand should be found, if it is known."""
    if name == "rotated by any angle":
        return None
    across = upright(hand.places, hand.mirrored)[1]
    angle = float(np.degrees(np.arctan2(-across[0], across[1])))
    if name == "mirrored":
        return -angle, not hand.mirrored
    return angle + 180 * (name == "upside down"), hand.mirrored


def is_right(hand: Hand, expected: tuple[float, bool]) -> bool:
    """Returns whether a hand has the expected angle and side."""
    across = upright(hand.places, hand.mirrored)[1]
    angle = float(np.degrees(np.arctan2(-across[0], across[1])))
    off = (angle - expected[0] + 180) % 360 - 180
    return abs(off) <= RIGHT_WITHIN_DEGREES and hand.mirrored == expected[1]


def main() -> None:
    """Makes every kind of every radiograph and prints a line for each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, help="CSV with images of whole hands")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, help="radiographs, for a try")
    parser.add_argument("--sheet", type=Path, help="picture with one of each kind")
    options = parser.parse_args()
    checker, framer = load_quality_checker(options.exports_dir), HandFramer(options.exports_dir)
    if checker is None:
        raise SystemExit(f"no quality check in {options.exports_dir}")
    cases = collect_cases(options.input)[: options.most]
    images = [resizing.trim_margins(reading.read_radiograph(case.path)) for case in cases]
    pairs = [(image, framer.find(image)) for image in images]
    known = [(image, hand) for image, hand in pairs if hand.is_certain]
    print(f"{len(pairs)} radiographs, the hand found in {len(known)}; seed {options.seed}")
    print(f"{'':28}{'n':>5}{'rejected':>10}{'in frame':>10}{'whole':>7}{'right':>7}  most often")
    shown: list[tuple[str, np.ndarray]] = []
    for name, variant in (READ | REJECTED).items():
        outcomes, words, right = Counter[str](), Counter[str](), []
        for number, (image, hand) in enumerate(tqdm(known, name, disable=None, leave=False)):
            random = np.random.default_rng([options.seed, number, len(shown)])
            made = np.ascontiguousarray(variant(image, hand, random), np.float32)
            if number == 0:
                shown.append((name, made))
            checked = checker.check(made, framer.find)
            if checked.image is None or checked.hand is None:
                outcomes["rejected"] += 1
                words[checked.rejection.partition(":")[0]] += 1
                continue
            outcomes["in frame" if checked.hand.is_certain else "whole"] += 1
            words.update(checked.corrections)
            expected = expected_view(name, hand)
            if checked.hand.is_certain and expected is not None:
                right.append(is_right(checked.hand, expected))
        shares = [outcomes[kind] / len(known) for kind in ("rejected", "in frame", "whole")]
        rights = f"{np.mean(right):7.1%}" if right else f"{'':>7}"
        often = ", ".join(f"{word} {count}" for word, count in words.most_common(2))
        print(f"{name:28}{len(known):5}{shares[0]:10.1%}{shares[1]:10.1%}{shares[2]:7.1%}", end="")
        print(f"{rights}  {often}", flush=True)
    if options.sheet:
        tiles = [resizing.to_uint8(resizing.resize(image, 200, "pad")) for _, image in shown]
        names = [name for name, _ in shown]
        options.sheet.write_bytes(audit_plots.sheet(np.stack(tiles), names))


if __name__ == "__main__":
    main()

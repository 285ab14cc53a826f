"""Rates of wrong and missed corrections (rotation, mirroring, inversion) of the quality check.

python benchmarks/corrections.py --manual_dir=DIR

The larger radiographs (shorter side over 299 px) of the RSNA training archive in DIR, upright left
hands with bright bones, are rotated, mirrored and inverted, and the background of the hand is
masked. For each threshold of the network's probability, the script prints the rates of wrong and
missed corrections, separately for rotation, mirroring and inversion.
"""

import argparse
import io
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from bone_age_tf import schema
from bone_age_tf.bundle import load_quality_checker
from bone_age_tf.images import reading, resizing
from bone_age_tf.quality.checker import QualityChecker, has_dark_rim, sample_greys
from bone_age_tf.quality.samples import posed

ARCHIVE = "boneage-training-dataset.zip"
LEAST_SIDE_PX = 300
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


def larger_films(folder: Path, count: int) -> Iterator[np.ndarray]:
    """Yields up to `count` radiographs [H, W] of the archive."""
    with zipfile.ZipFile(folder / ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(reading.SUFFIXES))
        random.Random(0).shuffle(names)
        for name in names:
            data = archive.read(name)
            with Image.open(io.BytesIO(data)) as image:
                if min(image.size) < LEAST_SIDE_PX:
                    continue
            yield reading.read_radiograph(data)
            count -= 1
            if not count:
                return


def mask_of(radiograph: np.ndarray) -> np.ndarray | None:
    """Returns a mask [H, W] of the hand, None if it cannot be separated from the background."""
    smooth = resizing.to_uint8(cv2.GaussianBlur(radiograph, (0, 0), 4))
    bright = cv2.threshold(smooth, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1]
    _, labels, facts, _ = cv2.connectedComponentsWithStats(bright)
    if len(facts) < 2:
        return None
    hand = (labels == 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    outlines, _ = cv2.findContours(hand, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(hand, outlines, -1, 1, cv2.FILLED)
    edges = np.concatenate([hand[0], hand[: len(hand) // 2, 0], hand[: len(hand) // 2, -1]])
    is_hand = 0.15 < hand.mean() < 0.7 and edges.mean() < 0.05
    return hand.astype(bool) if is_hand else None


def variants(radiograph: np.ndarray) -> Iterator[tuple[str, np.ndarray, int, bool]]:
    """Yields variants of a radiograph: name, image, pose and whether its bones are dark."""
    for pose, name in enumerate(schema.POSES):
        yield name, posed(radiograph, pose), pose, False
    yield "inverted", 255 - radiograph, 0, True
    hand = mask_of(radiograph)
    if hand is None:
        return
    for name, grey in (("black", 0), ("grey", 128), ("light grey", 200), ("white", 255)):
        masked = np.where(hand, radiograph, np.float32(grey))
        yield f"masked {name}", masked, 0, False
        yield f"masked {name}, inverted", 255 - masked, 0, True


def outputs_of(checker: QualityChecker, radiograph: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Returns the probabilities of poses and of inversion, and whether the hand's rim is dark."""
    radiograph = resizing.trim_margins(radiograph)
    outputs = checker.run_network(resizing.resize(radiograph, checker.size_px, "pad"))
    dark = float(outputs[schema.INVERTED][0, 0])
    return outputs[schema.POSE][0], dark, has_dark_rim(sample_greys(radiograph))


def main() -> None:
    """Checks every variant of every radiograph and prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manual_dir", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--count", type=int, default=1250, help="radiographs at most")
    options = parser.parse_args()
    checker = load_quality_checker(options.exports_dir)
    assert checker is not None, f"{options.exports_dir}: no film_check"
    names, poses, truth, dark, is_dark, rims = [], [], [], [], [], []
    radiographs = larger_films(options.manual_dir, options.count)
    for radiograph in tqdm(radiographs, total=options.count, disable=None, leave=False):
        for name, made, pose, inverted in variants(radiograph):
            probabilities, darkness, rim = outputs_of(checker, made)
            names.append(name)
            poses.append(probabilities)
            truth.append(pose)
            dark.append(darkness)
            is_dark.append(inverted)
            rims.append(rim)
    print_poses(np.array(names), np.array(poses), np.array(truth))
    print_inversions(np.array(names), np.array(dark), np.array(is_dark), np.array(rims))


def print_poses(names: np.ndarray, poses: np.ndarray, truth: np.ndarray) -> None:
    """Prints the rates of wrong and missed corrections of poses."""
    plain, upright = np.isin(names, schema.POSES), truth == 0
    turns, mirrors = poses[:, :4] + poses[:, 4:], poses[:, 4:].sum(axis=1)
    groups = {
        "upright": plain & upright,
        "turned": plain & (truth % 4 > 0) & (truth < 4),
        "mirrored and turned": plain & (truth > 4),
        "mirrored": plain & (truth == 4),
    }
    counts = ", ".join(f"{group.sum()} {name}" for name, group in groups.items())
    print(f"poses of {counts} radiographs")
    errors = "turned wrongly | turn missed | mirrored wrongly | mirroring missed"
    heads = (f"{name}: {errors}" for name in groups)
    print("| above | " + " | ".join(heads) + " |")
    for threshold in THRESHOLDS:
        turn = np.where(turns.max(axis=1) > threshold, turns.argmax(axis=1), 0)
        mirrored = mirrors > threshold
        wrong = turn != truth % 4
        rates = (
            wrong & (turn > 0),
            wrong & (turn == 0),
            mirrored & (truth < 4),
            ~mirrored & (truth > 3),
        )
        cells = (f"{rate[group].mean():.2%}" for group in groups.values() for rate in rates)
        print(f"| {threshold} | " + " | ".join(cells) + " |")


def print_inversions(
    names: np.ndarray, dark: np.ndarray, is_dark: np.ndarray, rims: np.ndarray
) -> None:
    """Prints the rates of wrong and missed inversions, by the background of the hand."""
    kinds = {"upright, turned or mirrored": np.isin(names, schema.POSES)}
    kinds |= {name: names == name for name in dict.fromkeys(names) if name not in schema.POSES}
    print("inversions of " + ", ".join(f"{kind.sum()} {name}" for name, kind in kinds.items()))
    for title, allowed in (("the network alone", True), ("unless the rim is dark", ~rims)):
        print(f"{title}\n| above | " + " | ".join(kinds) + " |")
        for threshold in THRESHOLDS:
            made = (dark > threshold) & allowed
            cells = (f"{(made != is_dark)[kind].mean():.2%}" for kind in kinds.values())
            print(f"| {threshold} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""Compares phantoms with annotated radiographs: location and size of the regions, and ages.

python benchmarks/phantom_proportions.py --boxes=../shared/ossification_roi \
    --labels=../shared/rsna_bone_age_299px/boneage-training-dataset.csv

The boxes are Pascal VOC files named by RSNA's image id. Distances and sizes are fractions of that
from the mean of the metacarpophalangeal joints 2 to 5 (distances) or 1 to 5 (sizes) to the distal
radius, so that no scale is needed. Prints them in bands of bone age, mean and SD.
"""

import argparse
import csv
import xml.etree.ElementTree
from collections import defaultdict
from pathlib import Path

import numpy as np
from bone_age_datasets.hand_phantom import anatomy, truth

COUNTS = {"DIP": 4, "PIP": 5, "MCP": 5, "Wrist": 1, "Radius": 1, "Ulna": 1}
NAMES = ("wrist-radius", "wrist-MCP", "MCP-PIP", "PIP-DIP", "MCP2-MCP5", "radius-ulna")
BANDS = ((0, 60), (60, 96), (96, 132), (132, 160), (160, 240))
PHANTOMS = 400


def read_boxes(path: Path) -> dict[str, np.ndarray] | None:
    """Returns [N, 4] boxes (xmin, ymin, xmax, ymax) by class, from the little finger to the thumb.

    None where not every region is annotated.
    """
    found = defaultdict(list)
    for thing in xml.etree.ElementTree.parse(path).findall("object"):
        ends = (f"bndbox/{end}" for end in ("xmin", "ymin", "xmax", "ymax"))
        found[thing.findtext("name", "")].append([float(thing.findtext(end, "")) for end in ends])
    if {name: len(boxes) for name, boxes in found.items()} != COUNTS:
        return None
    return {name: np.array(sorted(boxes)) for name, boxes in found.items()}


def distances(places: dict[str, np.ndarray]) -> list[float]:
    """Returns `NAMES` as fractions; places are [N, 2] by class, from the little finger on."""
    mcp, pip, dip = places["MCP"][:4], places["PIP"][:4], places["DIP"]
    wrist, radius, ulna = (places[name][0] for name in ("Wrist", "Radius", "Ulna"))
    heads = mcp.mean(axis=0)
    pairs = [
        (wrist, radius),
        (wrist, heads),
        (mcp[1:3].mean(axis=0), pip[1:3].mean(axis=0)),
        (pip[1:3].mean(axis=0), dip[1:3].mean(axis=0)),
        (mcp[0], mcp[3]),
        (radius, ulna),
    ]
    return [float(np.linalg.norm(a - b) / np.linalg.norm(heads - radius)) for a, b in pairs]


def phantom(seed: int) -> tuple[float, list[float]]:
    """Returns the bone age and the distances of one phantom, in its own frame."""
    rng = np.random.default_rng(seed)
    child = anatomy.sample_child(seed % 2, rng)
    age = float(rng.uniform(20, 216))
    hand = anatomy.grow_hand(age, child)
    points = truth.landmarks(hand, np.eye(2, 3))
    known = dict(zip(truth.LANDMARKS, points, strict=True))
    places = {
        name: np.array([known[f"{name}{ray}"] for ray in rays])
        for name, rays in (("MCP", (5, 4, 3, 2)), ("PIP", (5, 4, 3, 2)), ("DIP", (5, 4, 3, 2)))
    }
    places |= {"Wrist": hand.carpus[None], "Radius": known["radius"][None]}
    return age, distances(places | {"Ulna": known["ulna"][None]})


def print_sizes(boxes: list[dict[str, np.ndarray]]) -> None:
    """Prints the mean width and height of each region."""
    print(f"\nmean width and height of a region, n = {len(boxes)}")
    for name in COUNTS:
        sizes = []
        for one in boxes:
            middles = {k: (v[:, :2] + v[:, 2:]) / 2 for k, v in one.items()}
            unit = np.linalg.norm(middles["MCP"].mean(axis=0) - middles["Radius"][0])
            sizes.append((one[name][:, 2:] - one[name][:, :2]) / unit)
        width, height = np.concatenate(sizes).mean(axis=0)
        print(f"  {name:8}{width:8.3f}{height:8.3f}")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--boxes", type=Path, required=True, help="folder of Pascal VOC files")
    parser.add_argument("--labels", type=Path, required=True, help="CSV with id and boneage")
    options = parser.parse_args()
    if not options.labels.is_file():
        parser.error(f"--labels={options.labels}: no such file")
    if not any(options.boxes.glob("*.xml")):
        parser.error(f"--boxes={options.boxes}: no .xml files there")
    with options.labels.open(newline="") as file:
        ages = {row["id"]: float(row["boneage"]) for row in csv.DictReader(file)}
    values = np.array(list(ages.values()))
    print(
        f"labels: n = {len(values)}, mean {values.mean():.1f}, SD {values.std(ddof=1):.1f} months"
    )
    annotated = {path.stem: read_boxes(path) for path in sorted(options.boxes.glob("*.xml"))}
    whole = {name: boxes for name, boxes in annotated.items() if boxes is not None}
    real = [
        (ages[name], distances({k: (v[:, :2] + v[:, 2:]) / 2 for k, v in boxes.items()}))
        for name, boxes in whole.items()
        if name in ages
    ]
    drawn = [phantom(seed) for seed in range(PHANTOMS)]
    print("\nbone age         n   " + "".join(f"{name:>16}" for name in NAMES))
    for low, high in BANDS:
        for title, cases in (("real", real), ("drawn", drawn)):
            inside = np.array([found for age, found in cases if low <= age < high])
            cells = zip(inside.mean(axis=0), inside.std(axis=0), strict=True)
            text = "".join(f"{f'{mean:.3f} ({sd:.3f})':>16}" for mean, sd in cells)
            print(f"{low:3}-{high:3} {title:6}{len(inside):4}   {text}")
    print_sizes(list(whole.values()))


if __name__ == "__main__":
    main()

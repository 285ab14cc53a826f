"""Measures how many grey levels a radiograph needs, and how much is cropped as margins.

python benchmarks/film_limits.py --manual_dir=DIR

Radiographs of the RSNA training archive in DIR are reduced to fewer grey levels: spread over the
whole range, as by a posterising viewer, or next to each other, as in a darker radiograph. The
script prints the change of the predicted age by the number of levels that the quality check counts,
and the share of changes above a year; then the share of images by how much is cropped beyond black
edges.
"""

import argparse
import itertools
from pathlib import Path
from unittest import mock

import numpy as np
from tqdm import tqdm

from bone_age_tf import reasons
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.images import resizing
from bone_age_tf.quality import checker
from bone_age_tf.quality.checker import count_levels, sample_greys
from bone_age_tf.reader import Reader, load
from bone_age_tf.schema import FEMALE
from corrections import larger_films

LEVELS = (6, 8, 10, 12, 14, 16, 20, 24, 32)
GROUPS = (1, 4, 6, 8, 10, 12, 13, 14, 16, 20, 24, 32, 256)
CUTS = (0, 0.05, 0.1, 0.25, 0.5)
YEAR = 12


def spread(radiograph: np.ndarray, levels: int, low: float, high: float) -> np.ndarray:
    """Returns a radiograph [H, W] with its greys from `low` to `high` as levels from 0 to 255."""
    share = np.clip((radiograph - low) / max(high - low, 1), 0, 1)
    return np.rint(np.rint(share * (levels - 1)) * 255 / (levels - 1)).astype(np.float32)


def darkened(radiograph: np.ndarray, levels: int, low: float, high: float) -> np.ndarray:
    """Returns a radiograph [H, W] whose greys from `low` to `high` become 0, 1 and so on."""
    share = np.clip((radiograph - low) / max(high - low, 1), 0, 1)
    return np.rint(share * (levels - 1)).astype(np.float32)


def levels_of(radiograph: np.ndarray) -> int:
    """Returns the number of levels that the quality check counts."""
    return count_levels(sample_greys(resizing.trim_margins(radiograph)))


def age_of(reader: Reader, radiograph: np.ndarray) -> float:
    """Returns the age of a girl in months, NaN if the radiograph is rejected."""
    result = reader.read(radiograph, sex=FEMALE)
    return np.nan if result.age_months is None else result.age_months


def black_edges(radiograph: np.ndarray) -> int:
    """Returns the number of pixels of a radiograph without its black edges."""
    lit = radiograph > resizing.BLACK
    sides = [np.flatnonzero(lit.any(axis=axis)) for axis in (0, 1)]
    return int(np.prod([np.ptp(side) + 1 if side.size else 0 for side in sides]))


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manual_dir", type=Path, required=True, help="folder of the archive")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--count", type=int, default=100, help="radiographs to reduce")
    parser.add_argument("--margins", type=int, default=500, help="radiographs to cut")
    options = parser.parse_args()
    reader = load(SHIPPED_MODEL, exports_dir=options.exports_dir)
    assert reader.quality_checker is not None, f"{options.exports_dir}: no film_check"
    mock.patch.object(checker, "LEAST_LEVELS", 0).start()  # the limit that is measured
    moved: dict[str, list] = {"spread": [], "darkened": []}
    counted = []
    radiographs = larger_films(options.manual_dir, options.count)
    for radiograph in tqdm(radiographs, total=options.count, disable=None, leave=False):
        sound = age_of(reader, radiograph)
        counted.append(levels_of(radiograph))
        for levels in LEVELS:
            for low, high in ((0, 255), np.percentile(radiograph, [0.5, 99.5])):
                for change in (spread, darkened):
                    few = change(radiograph, levels, low, high)
                    moved[change.__name__].append((levels_of(few), age_of(reader, few) - sound))
    print(f"fewest levels of a radiograph as it is: {min(counted)}")
    for name, changes in moved.items():
        print(f"levels {name}:")
        print_levels(np.array(changes))
    kept = [
        (resizing.trim_margins(radiograph).size, black_edges(radiograph), radiograph.size)
        for radiograph in larger_films(options.manual_dir, options.margins)
    ]
    print_margins(np.array(kept, float))


def print_levels(moved: np.ndarray) -> None:
    """Prints the changes of ages [N, 2] (levels and months) by the number of levels."""
    print("| levels | n | rejected | median months | 90th percentile | largest | above 12 months |")
    for low, end in itertools.pairwise(GROUPS):
        months = np.abs(moved[(moved[:, 0] >= low) & (moved[:, 0] < end), 1])
        rejected = np.isnan(months).mean() if months.size else 0
        months = months[np.isfinite(months)]
        if months.size:
            middle, most, largest = np.percentile(months, [50, 90, 100])
            print(
                f"| {low} to {end - 1} | {months.size} | {rejected:.0%} | {middle:.1f} "
                f"| {most:.1f} | {largest:.1f} | {(months > YEAR).mean():.1%} |"
            )


def print_margins(kept: np.ndarray) -> None:
    """Prints the cropped shares from pixels [N, 3]: without margins, without black edges, all."""
    beyond = 1 - kept[:, 0] / np.maximum(kept[:, 1], kept[:, 0])
    print("| cut off beyond black edges, more than | films |")
    for cut in CUTS:
        print(f"| {cut:.0%} | {(beyond > cut).sum()} of {len(beyond)} |")
    wide = (kept[:, 2] > reasons.WIDE * kept[:, 0]).sum()
    print(f"reported as a correction: {wide} of {len(beyond)}")


if __name__ == "__main__":
    main()

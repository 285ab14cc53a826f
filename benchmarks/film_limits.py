"""How many grey levels does a radiograph need, and what is cut off as its margins?

python benchmarks/film_limits.py --manual_dir=DIR

Takes larger radiographs of the RSNA training archive in DIR. Reduces them to fewer grey levels and
prints, by the number of levels that the quality check counts, how far the age moves and how many
ages move by more than a year. Then prints how much is cut off beyond black edges.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bone_age_tf import reasons
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.images import resizing
from bone_age_tf.inference.predictor import Predictor
from bone_age_tf.quality.checker import QualityChecker, count_levels, sample_greys
from bone_age_tf.reader import load
from bone_age_tf.schema import FEMALE
from corrections import larger_films

LEVELS = (4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48)
GROUPS = (1, 4, 6, 8, 10, 12, 13, 14, 16, 20, 24, 32, 256)
CUTS = (0, 0.05, 0.1, 0.25, 0.5)
YEAR = 12


def with_levels(film: np.ndarray, levels: int, low: float, high: float) -> np.ndarray:
    """Returns a film [H, W] whose greys from `low` to `high` became so many levels."""
    share = np.clip((film - low) / max(high - low, 1), 0, 1)
    return np.rint(np.rint(share * (levels - 1)) * 255 / (levels - 1)).astype(np.float32)


def levels_of(film: np.ndarray) -> int:
    """Returns the levels that the quality check counts."""
    return count_levels(sample_greys(resizing.trim_margins(film)))


def age_of(predictor: Predictor, checker: QualityChecker, film: np.ndarray) -> float:
    """Returns the age, NaN where the film is refused for another reason than its levels."""
    look = checker.check(film)
    few = look.reason == reasons.TEXTS[reasons.Reason.FEW_LEVELS]
    if look.image is None and not few:
        return np.nan
    image = resizing.trim_margins(film) if look.image is None else look.image
    prediction = predictor.predict(predictor.fit_image(image), FEMALE)
    far = prediction.unfamiliarity is not None and prediction.unfamiliarity > 1
    return np.nan if far else prediction.age_months


def black_edges(film: np.ndarray) -> int:
    """Returns the pixels that are left of a film without its black edges."""
    lit = film > resizing.BLACK
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
    predictor, checker = reader.bundle.predictor(), reader.quality_checker
    assert checker is not None, f"{options.exports_dir}: no film_check"
    moved, own = [], []
    films = larger_films(options.manual_dir, options.count)
    for film in tqdm(films, total=options.count, disable=None, leave=False):
        sound = age_of(predictor, checker, film)
        own.append(levels_of(film))
        for levels in LEVELS:
            for low, high in ((0, 255), np.percentile(film, [0.5, 99.5])):
                few = with_levels(film, levels, low, high)
                moved.append((levels_of(few), age_of(predictor, checker, few) - sound))
    print_levels(np.array(moved), min(own))
    kept = [
        (resizing.trim_margins(film).size, black_edges(film), film.size)
        for film in larger_films(options.manual_dir, options.margins)
    ]
    print_margins(np.array(kept, float))


def print_levels(moved: np.ndarray, least: int) -> None:
    """Prints by counted levels how far ages move, [N, 2] levels and months."""
    print(f"fewest levels of a radiograph as it is: {least}")
    print("| levels | n | median months | 90th percentile | largest | above 12 months |")
    for low, end in itertools.pairwise(GROUPS):
        months = np.abs(moved[(moved[:, 0] >= low) & (moved[:, 0] < end), 1])
        months = months[np.isfinite(months)]
        if months.size:
            middle, most, largest = np.percentile(months, [50, 90, 100])
            print(
                f"| {low} to {end - 1} | {months.size} | {middle:.1f} | {most:.1f} "
                f"| {largest:.1f} | {(months > YEAR).mean():.1%} |"
            )


def print_margins(kept: np.ndarray) -> None:
    """Prints what is cut, [N, 3] pixels without margins, without black edges and of the film."""
    beyond = 1 - kept[:, 0] / np.maximum(kept[:, 1], kept[:, 0])
    print("| cut off beyond black edges, more than | films |")
    for cut in CUTS:
        print(f"| {cut:.0%} | {(beyond > cut).sum()} of {len(beyond)} |")
    wide = (kept[:, 2] > reasons.WIDE * kept[:, 0]).sum()
    print(f"reported as a correction: {wide} of {len(beyond)}")


if __name__ == "__main__":
    main()

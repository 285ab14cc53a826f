"""Draws one girl and one boy at a row of ages, as in the README.

`python -m bone_age_datasets.hand_phantom.picture --help` says how.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib.patches
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bone_age_tf import schema

from . import radiograph, truth

AGES_MONTHS: Final = (6.0, 12.0, 24.0, 48.0, 72.0, 96.0, 120.0, 144.0, 168.0, 192.0, 216.0)
SEED: Final = 5
VARIETY: Final = 0.4
REGION_COLOUR: Final = "#ffb000"
CARPAL_COLOUR: Final = "#33bbee"


def draw_picture(
    ages_months: Sequence[float] = AGES_MONTHS,
    size_px: int = 128,
    seed: int = SEED,
    boxes: bool = False,
    variety: float = VARIETY,
) -> Figure:
    """Returns a figure: girls above, boys below, a column an age.

    Args:
        ages_months: bone ages in months.
        size_px: height and width of each radiograph.
        seed: of the girl and the boy; each is the same child on the same film at every age.
        boxes: draw the regions and the carpals' boxes.
        variety: how different films may be, 0 to 1.
    """
    columns = len(ages_months)
    figure = Figure(figsize=(1.2 * columns + 0.3, 2.75), layout="constrained")
    grid = figure.subplots(2, columns, squeeze=False)
    for row, sex in enumerate((schema.FEMALE, schema.MALE)):
        for column, age in enumerate(ages_months):
            taken = radiograph.take_radiograph(
                age, sex, np.random.default_rng([seed, sex]), size_px, variety=variety
            )
            axes = grid[row, column]
            axes.imshow(taken.image, cmap="gray", vmin=0, vmax=255, extent=(0, 1, 1, 0))
            axes.set(xticks=[], yticks=[])
            if boxes:
                regions = truth.region_boxes(taken.hand, taken.matrix)
                carpals, _ = truth.carpal_boxes(taken.hand, taken.matrix)
                _draw_boxes(axes, regions, REGION_COLOUR)
                _draw_boxes(axes, carpals, CARPAL_COLOUR)
            if row == 0:
                axes.set_title(_age_text(age), fontsize=9)
        grid[row, 0].set_ylabel(("girl", "boy")[row], fontsize=9)
    return figure


def _draw_boxes(axes: Axes, boxes: np.ndarray, colour: str) -> None:
    for ymin, xmin, ymax, xmax in boxes[truth.has_area(boxes)]:
        axes.add_patch(
            matplotlib.patches.Rectangle(
                (xmin, ymin), xmax - xmin, ymax - ymin, fill=False, edgecolor=colour, linewidth=0.6
            )
        )


def _age_text(age_months: float) -> str:
    if age_months < 12.0 or age_months % 12.0:
        return f"{age_months:g} months"
    return "1 year" if age_months == 12.0 else f"{age_months / 12.0:g} years"


def _age(text: str) -> float:
    try:
        return schema.parse_age_months(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bone_age_datasets.hand_phantom.picture",
        description="Draws one girl (above) and one boy (below) at a row of bone ages. Each is the "
        "same child on the same film throughout, so that only growth and ossification differ.",
        epilog="examples:\n"
        "  %(prog)s --output=hands.png\n"
        "  %(prog)s --output=boxes.png --boxes --ages 24 84 144 --size_px=512\n"
        "  %(prog)s --output=others.png --seed=7",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the picture to write; its ending says the format: .png, .pdf or .svg",
    )
    parser.add_argument(
        "--ages",
        type=_age,
        nargs="+",
        default=AGES_MONTHS,
        metavar="MONTHS",
        help="bone ages in months, a column each (default: 6 months to 18 years)",
    )
    parser.add_argument(
        "--size_px",
        type=int,
        default=128,
        metavar="PX",
        help="height and width that each radiograph is drawn at (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=SEED,
        help="another seed, two other children and films (default: %(default)s)",
    )
    parser.add_argument(
        "--boxes",
        action="store_true",
        help="draw the 17 regions (orange) and the carpals that have appeared (blue)",
    )
    parser.add_argument(
        "--variety",
        type=float,
        default=VARIETY,
        metavar="SHARE",
        help="how different films may be: 0, all alike, to 1, as real ones (default: %(default)s)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the picture.

    Args:
        arguments: those of the command line; None takes them from there.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.size_px < 32:
        parser.error(f"--size_px is {options.size_px}; allowed are numbers from 32 on")
    if options.seed < 0:
        parser.error(f"--seed is {options.seed}; allowed are numbers from 0 on")
    if not 0 <= options.variety <= 1:
        parser.error(f"--variety is {options.variety}; allowed are numbers from 0 to 1")
    figure = draw_picture(
        options.ages, options.size_px, options.seed, options.boxes, options.variety
    )
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        # Room for every pixel of a radiograph in its column.
        figure.savefig(options.output, dpi=options.size_px)
    except (OSError, ValueError) as error:  # no such place, or no such format
        parser.error(f"--output={options.output}: {error}")
    print(options.output)


if __name__ == "__main__":
    main()

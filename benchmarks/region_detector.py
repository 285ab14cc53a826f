"""Measures the exported region detector on held-out hands.

python benchmarks/region_detector.py --boxes=../shared/ossification_roi \
    --manual_dir=../shared/rsna_bone_age_299px

The hands are drawn hands of the test split and, with --boxes, the annotated radiographs that the
training holds out by the hash of the id. The detector sees each first as a whole and then upright
and cropped to the hand. Columns: mAP@.5 and the average precision of each group of regions (a box
may match any region of its group), and the mean distance of the centres.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np

from bone_age_tf.bundle import load_region_detector
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import frame
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.detector import RegionDetector
from bone_age_tf.regions.figures import DetectionFigures, measure_detection
from bone_age_tf.regions.training import figures_text

LEAST_ON_PHANTOMS, LEAST_ON_FILMS, LEAST_OF_A_KIND = 0.8, 0.5, 0.3
MOST_CENTRE_ERROR = 0.04
IMAGE_PX = 384
"""Side of the padded squares that are read."""


def measured(detector: RegionDetector, hands: RegionImages) -> DetectionFigures:
    """Measures the detector on each hand."""
    detections = [frame.find_regions(image.astype(np.float32), detector) for image in hands.images]
    boxes, scores = (
        np.stack([getattr(one, of) for one in detections]) for of in ("boxes", "scores")
    )
    return measure_detection(boxes, scores, hands.boxes)


def check(good: bool, text: str) -> None:
    """Prints a figure and whether it reaches its limit."""
    print(f"{'ok  ' if good else 'MISS'}  {text}")


def main() -> None:
    """Measures the newest exported detector and prints a table and the limits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--phantoms", nargs="+", default=["hand_phantom/large"])
    parser.add_argument("--count", type=int, default=1000, help="drawn hands of each")
    parser.add_argument("--boxes", type=Path, help="Pascal VOC files of annotated radiographs")
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    options = parser.parse_args()
    detector = load_region_detector(options.exports_dir)
    if detector is None:
        parser.error(
            f"no region detector in {options.exports_dir}; name another folder by --exports_dir, "
            "or make one with: python run.py --mode=train_region_detector"
        )
    figures = {}
    for name in options.phantoms:
        builder = prepare_dataset(name, options.data_dir, None)
        hands = region_boxes.read_phantoms(builder, "test", IMAGE_PX, options.count, "pad")
        figures[builder.info.full_name] = drawn = measured(detector, hands)
    if options.boxes:
        builder = prepare_dataset("rsna_bone_age/px512", options.data_dir, options.manual_dir)
        hands = region_boxes.read_annotated(builder, options.boxes, IMAGE_PX, resize="pad")
        holdout_ids = region_boxes.held_out(hands.image_id)
        hands = hands.chosen(np.array([name in holdout_ids for name in hands.image_id]))
        figures[builder.info.full_name] = radiographs = measured(detector, hands)
    print(figures_text(figures))
    check(drawn.map_50 >= LEAST_ON_PHANTOMS, f"mAP@.5 of {name} >= {LEAST_ON_PHANTOMS}")
    if options.boxes:
        check(radiographs.map_50 >= LEAST_ON_FILMS, f"mAP@.5 of radiographs >= {LEAST_ON_FILMS}")
        least = min(
            {**radiographs.by_group, **radiographs.by_region}.items(), key=lambda item: item[1]
        )
        check(
            least[1] > LEAST_OF_A_KIND,
            f"the least of a region, {least[0]} with {least[1]:.3f}, > {LEAST_OF_A_KIND}",
        )
        check(
            radiographs.centre_error <= MOST_CENTRE_ERROR,
            f"centre error of radiographs <= {100 * MOST_CENTRE_ERROR:.0f} % of the width",
        )


if __name__ == "__main__":
    main()

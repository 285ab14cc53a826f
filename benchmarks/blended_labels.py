"""Copies an archive in RSNA's layout with ages halfway between the readings and networks' answers.

python benchmarks/blended_labels.py NETWORK.keras ... --manual_dir=FRAMED --output=BLENDED

RSNA's training labels are single readings, mostly in steps of six months. Networks that were
trained on them agree with the reading only in part, so that the mean of a reading and of what they
answer has less noise than the reading (label refinery; Bagherinezhad et al. 2018, arXiv
1805.02641). Only the ages of the ids that are trained on change: the held-out ids keep their
readings, and must not have been trained on by the networks either. The copy is a --manual_dir like
the first.
"""

import argparse
import csv
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.models.build import load_network
from bone_age_tf.prepare import prepare_dataset

TABLE = "boneage-training-dataset.csv"
BATCH = 32


def main() -> None:
    """Writes the copy and prints the errors of the networks' mean on both parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", type=Path, help=".keras files")
    parser.add_argument("--manual_dir", type=Path, required=True)
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size_px", type=int, default=256, help="that the networks read")
    parser.add_argument("--share", type=float, default=0.5, help="of the networks in an age")
    options = parser.parse_args()
    config = configs.load_config("bonewise", "rsna_bone_age")
    builder = prepare_dataset("rsna_bone_age/px512", options.data_dir, options.manual_dir)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    networks = [load_network(path) for path in options.networks]
    blended: dict[str, float] = {}
    for name in ("test", "train"):
        table = pipeline.read_table(builder, parts[name])
        dataset = pipeline.make_evaluation_dataset(
            builder, parts[name], options.size_px, config.resize, BATCH, len(table)
        )
        found = [network.predict(dataset)[schema.AGE_MONTHS] for network in networks]
        mean = np.mean(found, axis=0).ravel()
        error = np.abs(mean - table.age_months).mean()
        print(f"{name}: n = {len(table)}, MAE of the networks' mean {error:.2f} months", flush=True)
        if name == "train":
            ages = (1 - options.share) * table.age_months + options.share * mean
            blended = dict(zip(table.image_id, ages.tolist(), strict=True))
    options.output.mkdir(parents=True, exist_ok=True)
    for path in sorted(options.manual_dir.iterdir()):
        if path.name != TABLE:
            shutil.copyfile(path, options.output / path.name)
    changed = 0
    with (
        (options.manual_dir / TABLE).open(newline="") as source,
        (options.output / TABLE).open("w", newline="") as copy,
    ):
        rows = csv.DictReader(source)
        writer = csv.DictWriter(copy, rows.fieldnames or [])
        writer.writeheader()
        for row in rows:
            if row["id"] in blended:
                row["boneage"] = f"{max(1.0, blended[row['id']]):.1f}"
                changed += 1
            writer.writerow(row)
    print(f"{changed} ages changed in {options.output / TABLE}")


if __name__ == "__main__":
    main()

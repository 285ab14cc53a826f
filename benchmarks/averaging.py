"""Effect of averaging predictions over views, predictions of several networks, and their weights.

python benchmarks/averaging.py --manual_dir=DIR [FOLDER of a run or an export ...]

The held-out images of the RSNA training set are used. For the first network, the script prints the
error on rotated, resized, shifted and mirrored images, and the error of the mean of this prediction
and the one for the original image (test-time augmentation). For several networks, it prints the
error of each network, of the mean of their predictions, and of a network with the mean of their
weights (model soups; Wortsman et al. 2022, arXiv 2203.05482).
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import keras
import numpy as np

from bone_age_tf import schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.data import pipeline
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.training.initial_weights import mean_weights
from explanations import saved_network

VIEWS = {
    "turned by 5 degrees": (5, 1.0, 0, False),
    "turned by -5 degrees": (-5, 1.0, 0, False),
    "turned by 10 degrees": (10, 1.0, 0, False),
    "turned by -10 degrees": (-10, 1.0, 0, False),
    "at 1.05 of its size": (0, 1.05, 0, False),
    "at 0.95 of its size": (0, 0.95, 0, False),
    "moved by 2 % to the right": (0, 1.0, 0.02, False),
    "mirrored": (0, 1.0, 0, True),
}
"""Rotation in degrees, zoom, shift as a fraction of the side, and mirroring of each view."""


def view(images: np.ndarray, degrees: float, zoom: float, shift: float, mirrored: bool):
    """Returns transformed images [N, S, S]."""
    if mirrored:
        return np.ascontiguousarray(images[:, :, ::-1])
    side = images.shape[1]
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2,) * 2, degrees, zoom)
    matrix[0, 2] += shift * side
    return np.stack([cv2.warpAffine(image, matrix, (side, side)) for image in images])


def predict_months(network: keras.Model, images: np.ndarray, sex: np.ndarray) -> np.ndarray:
    """Returns predicted ages [N] in months."""
    inputs = {
        schema.IMAGE: images[..., None].astype(np.float32),
        schema.SEX: sex.astype(np.float32)[:, None],
    }
    return np.ravel(network.predict(inputs, batch_size=32, verbose=0)[schema.AGE_MONTHS])


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, help="default: the shipped export")
    parser.add_argument("--manual_dir", type=Path)
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    options = parser.parse_args()
    folders = options.folders or [Bundle.find().folder]
    networks, configs = zip(*[saved_network(folder) for folder in folders], strict=True)
    config = configs[0]
    builder = prepare_dataset("rsna_bone_age", options.data_dir, options.manual_dir)
    part = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )["test"]
    table = pipeline.read_table(builder, part)
    images = pipeline.read_images(builder, part, config.image_size_px, config.resize)

    def show(name: str, months: np.ndarray, mean: np.ndarray | None = None) -> None:
        error, together = (
            "" if values is None else f"{np.abs(values - table.age_months).mean():.2f}"
            for values in (months, mean)
        )
        print(f"| {name} | {error} | {together} |", flush=True)

    print(f"n = {len(table)}\n\n| what | MAE | mean with the first |\n|---|---|---|")
    plain = predict_months(networks[0], images, table.sex)
    show(str(folders[0]), plain)
    by_view = []
    for name, changes in VIEWS.items():
        by_view.append(predict_months(networks[0], view(images, *changes), table.sex))
        show(name, by_view[-1], (plain + by_view[-1]) / 2)
    show("the mean of all but the mirrored one", np.mean([plain, *by_view[:-1]], axis=0))
    predictions = [plain]
    for folder, network in zip(folders[1:], networks[1:], strict=True):
        predictions.append(predict_months(network, images, table.sex))
        show(str(folder), predictions[-1], (plain + predictions[-1]) / 2)
    if len(networks) > 1:
        show("the mean of all networks' answers", np.mean(predictions, axis=0))
        networks[0].set_weights(mean_weights(networks))
        show("the mean of all networks' weights", predict_months(networks[0], images, table.sex))


if __name__ == "__main__":
    main()

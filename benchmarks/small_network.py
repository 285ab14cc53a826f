"""A small network for phantoms and radiographs in memory: input, training and prediction."""

from collections.abc import Sequence

import cv2
import keras
import numpy as np
from keras import layers

from bone_age_tf.models.answer_layers import ExpectedAge
from bone_age_tf.models.layers import PercentileStretch
from bone_age_tf.training.losses import DistributionLoss

BIN_MONTHS = 2.0
BONES_WEIGHT = 3.0
VIEWS = ((0.0, 1.0), (-8.0, 1.0), (8.0, 1.0), (0.0, 0.9), (0.0, 1.08))
"""Rotations in degrees and zooms over which predictions of real images are averaged."""

BONES = 30

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]
"""Images [N, S, S, 2] uint8 as `look_at` makes them, sexes [N, 1] float32, ages [N] in months; of
phantoms also how mature each bone is, [N, 3 * 30] float32, 0 to 1: whether it is there, how wide
its epiphysis is, how far it has fused."""


def look_at(images: Sequence[np.ndarray]) -> np.ndarray:
    """Normalises drawn and real radiographs, independently of their exposure.

    Args:
        images: N of [S, S, 1], 0 to 255.

    Returns:
        [N, S, S, 2] uint8: each image between its percentiles, and the contrast of each pixel to
        its neighbourhood.
    """
    stretch, found = PercentileStretch(), []
    for first in range(0, len(images), 256):
        batch = np.stack(images[first : first + 256]).astype(np.float32)
        for grey in np.array(stretch(batch))[:, :, :, 0]:
            difference = grey - cv2.blur(grey, (15, 15))
            spread = np.sqrt(cv2.blur(difference * difference, (15, 15)) + 1e-3)
            contrast = np.clip(0.5 + difference / spread / 6.0, 0.0, 1.0)
            found.append(np.rint(255.0 * np.stack([grey, contrast], axis=-1)).astype(np.uint8))
    return np.stack(found)


def at_rows(data: Arrays, rows: np.ndarray) -> Arrays:
    """Returns the arrays at the given rows."""
    images, sexes, ages, bones = data
    return images[rows], sexes[rows], ages[rows], None if bones is None else bones[rows]


def small_network(size_px: int):
    """Builds a model from an image and a sex to a bone age and to the maturity of bones.

    It has seven convolutions and 0.8 M parameters. The age is the mean of a distribution, as in the
    project's models: a regression of the age learns more slowly from structures as small as a
    closing growth plate. `bones` is the maturity of each bone, which is only known for phantoms. It
    is an auxiliary output that directs the network to the bones, and is not used afterwards.
    """
    image = keras.Input((size_px, size_px, 2), name="image")
    sex = keras.Input((1,), name="sex")
    x = layers.Rescaling(1 / 128.0, -1.0)(image)

    def convolve(x, filters: int, kernel: int, strides: int = 1):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    x = convolve(x, 24, 5, 2)
    x = convolve(x, 40, 3, 2)
    x = convolve(x, 40, 3)
    x = convolve(layers.MaxPooling2D(2)(x), 80, 3)
    x = convolve(x, 80, 3)
    x = convolve(layers.MaxPooling2D(2)(x), 160, 3)
    x = convolve(x, 160, 3)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    bones = layers.Dense(3 * BONES, activation="sigmoid", name="bones")(x)
    x = layers.Concatenate()([layers.Dropout(0.2)(x), layers.Dense(16, activation="relu")(sex)])
    x = layers.Dense(128, activation="relu")(x)
    distribution = layers.Dense(120, activation="softmax", name="distribution")(x)
    age = ExpectedAge(BIN_MONTHS, name="age_months")(distribution)
    outputs = {"age_months": age, "distribution": distribution, "bones": bones}
    return keras.Model({"image": image, "sex": sex}, outputs)


def move(image: np.ndarray, degrees: float, zoom: float, shift=(0.0, 0.0)) -> np.ndarray:
    """Rotates and zooms an image [S, S, C] about its centre, then shifts it by fractions."""
    size = image.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, zoom)
    matrix[:, 2] += np.multiply(shift, size)
    return cv2.warpAffine(image, matrix, (size, size))


def moved_batches(data: Arrays, seed: int, turn: float):
    """Yields infinite batches of 32; with a `turn`, images are rotated, shifted and zoomed."""
    images, sexes, ages, bones = data
    bones = np.zeros((len(ages), 3 * BONES), np.float32) if bones is None else bones
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(ages))
        for first in range(0, len(order) - 31, 32):
            rows = order[first : first + 32]
            batch = images[rows]
            if turn:
                turns = random.uniform(-turn, turn, 32)
                zooms = random.uniform(0.9, 1.1, 32)
                shifts = random.uniform(-0.06, 0.06, (32, 2))
                moves = zip(batch, turns, zooms, shifts, strict=True)
                batch = np.stack([move(image, *how) for image, *how in moves])
            age = ages[rows, None]
            yield (
                {"image": batch.astype(np.float32), "sex": sexes[rows]},
                {"age_months": age, "distribution": age, "bones": bones[rows]},
            )


def train(network, data: Arrays, steps: int, rate: float, seed: int, turn: float) -> None:
    """Trains with AdamW, warm-up and a cosine schedule; rotations are up to `turn` degrees."""
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps, warmup_target=rate, warmup_steps=steps // 20
    )
    network.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02, clipnorm=1.0),
        {"age_months": "mae", "distribution": DistributionLoss(BIN_MONTHS, 6.0), "bones": "mae"},
        loss_weights={
            "age_months": 0.02,
            "distribution": 1.0,
            "bones": 0.0 if data[3] is None else BONES_WEIGHT,
        },
    )
    for _, (inputs, targets) in zip(range(steps), moved_batches(data, seed, turn), strict=False):
        network.train_on_batch(inputs, targets)


def predict(network, data: Arrays, views: Sequence[tuple[float, float]] = VIEWS[:1]) -> np.ndarray:
    """Returns ages [N] in months, the mean over views."""
    found = []
    for degrees, zoom in views:
        seen = np.stack([move(image, degrees, zoom) for image in data[0]])
        inputs = {"image": seen.astype(np.float32), "sex": data[1]}
        outputs = network.predict(inputs, batch_size=64, verbose=0)
        found.append(outputs["age_months"][:, 0])
    return np.mean(found, axis=0)


def mae(months: np.ndarray, data: Arrays) -> float:
    """Returns the mean absolute error in months."""
    return float(np.abs(months - data[2]).mean())

"""Out-of-fold predictions of training images, by which labels are audited."""

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.files import replace_file
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor
from bone_age_tf.training.fit import Schedule, compiled, with_targets
from bone_age_tf.training.initial_weights import initialise
from bone_age_tf.training.progress import Progress


def fold_of(image_id: str, folds: int) -> int:
    """Returns the fold of an image, which only depends on its id."""
    return int(tf.strings.to_hash_bucket_fast([f"fold {image_id}"], folds)[0])


def out_of_fold_months(
    config: Config,
    images: np.ndarray,
    sex: np.ndarray,
    age_months: np.ndarray,
    folds: np.ndarray,
    workdir: Path,
    seed: int,
) -> np.ndarray:
    """Predicts each image with a network that was not trained on it.

    For each fold a network is trained on the other folds. An image without a fold is not used for
    training, and its prediction is the mean of all networks. Predictions are stored in the folder,
    and a second call continues after the last stored fold.

    Args:
        config: config of the networks.
        images: [N, S, S] uint8.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] labels in months.
        folds: [N] fold of each image, -1 for none.
        workdir: folder of the predictions, a file for each fold.
        seed: seed of weights, order and augmentation.

    Returns:
        [2, N] float64, ages in months for the sex of the label and for the other sex.
    """
    count = int(folds.max()) + 1
    by_fold = np.stack(
        [
            _fold_months(config, images, sex, age_months, folds, fold, workdir, seed)
            for fold in range(count)
        ]
    )
    out_of_fold = np.take_along_axis(by_fold, np.maximum(folds, 0)[None, None, :], axis=0)[0]
    return np.where(folds >= 0, out_of_fold, by_fold.mean(axis=0))


def _fold_months(
    config: Any,
    images: Tensor,
    sex: Tensor,
    age_months: Tensor,
    folds: Any,
    fold: int,
    workdir: Any,
    seed: int,
) -> np.ndarray:
    """Returns the predictions [2, N] of the network of a fold, from its file if there is one."""
    path = workdir / f"fold{fold}.json"
    known = np.flatnonzero((folds >= 0) & (folds != fold))
    facts = {"trained_on": len(known), "images": len(images), "seed": seed, "epochs": config.epochs}
    if path.exists():
        record = json.loads(path.read_text())
        if record["facts"] == facts:
            return np.array(record["months"])
    print(f"fold {fold + 1} of {int(folds.max()) + 1}: {len(known)} images, {config.epochs} epochs")
    network = _trained(config, images[known], sex[known], age_months[known], seed + fold)
    months = np.stack([_predict(network, config, images, codes) for codes in (sex, 1 - sex)])
    replace_file(path, json.dumps({"facts": facts, "months": months.tolist()}).encode())
    return months


def _trained(
    config: Any, images: Tensor, sex: Tensor, age_months: Tensor, seed: int
) -> keras.Model:
    keras.utils.set_random_seed(seed)
    schedule = Schedule(config.epochs, max(1, len(images) // config.batch_size))
    model = compiled(config, schedule, seed)
    initialise(model.network, config)
    rows = tf.data.Dataset.from_tensor_slices((images[..., None], sex, age_months))
    rows = rows.shuffle(len(images), seed=seed).repeat()
    rows = rows.map(_inputs_and_age).batch(config.batch_size, drop_remainder=True)
    rows = rows.map(with_targets(model.trained_outputs, model.mixing is not None))
    model.fit(
        rows.prefetch(tf.data.AUTOTUNE),
        epochs=schedule.epochs,
        steps_per_epoch=schedule.steps_per_epoch,
        callbacks=[
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            Progress(schedule, config.batch_size, 0),
        ],
        shuffle=False,
        verbose=0,
    )
    return model.network


def _inputs_and_age(image: Tensor, sex: Tensor, age_months: Tensor) -> tuple[Any, ...]:
    inputs = {
        schema.IMAGE: tf.cast(image, tf.float32),
        schema.SEX: tf.cast(sex, tf.float32)[None],
    }
    return inputs, tf.cast(age_months, tf.float32)[None]


def _predict(network: keras.Model, config: Any, images: Tensor, sex: Tensor) -> np.ndarray:
    rows = tf.data.Dataset.from_tensor_slices((images[..., None], sex))
    rows = rows.map(
        lambda image, code: {
            schema.IMAGE: tf.cast(image, tf.float32),
            schema.SEX: tf.cast(code, tf.float32)[None],
        }
    )
    outputs = network.predict(rows.batch(config.batch_size), verbose=0)
    return np.ravel(outputs[schema.AGE_MONTHS]).astype(np.float64)

"""Predictions of a trained network for the images of a prepared dataset."""

import math

import keras
import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf.data import pipeline
from bone_age_tf.settings import Config


def predict(
    network: keras.Model,
    config: Config,
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    examples: int,
) -> dict[str, np.ndarray]:
    """Predicts every example of a part once, in the order of its table.

    Returns:
        Arrays by output name, first axis N.
    """
    dataset = pipeline.make_evaluation_dataset(
        builder, part, config.image_size_px, config.resize, config.batch_size, examples
    )
    return network.predict(dataset, verbose=0)


def predict_features(
    network: keras.Model,
    config: Config,
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    most: int = 4000,
) -> np.ndarray:
    """Computes features [N, C] of the first images of a part.

    Args:
        network: see `build.build_features_model`.
        config: the resolved config.
        builder: TFDS builder of the prepared dataset.
        part: the part.
        most: maximum number of images; complete batches are used.
    """
    size, resize, batch = config.image_size_px, config.resize, config.batch_size
    examples = len(pipeline.read_table(builder, part))
    dataset = pipeline.make_evaluation_dataset(builder, part, size, resize, batch, examples)
    return network.predict(dataset.take(math.ceil(most / batch)), verbose=0)

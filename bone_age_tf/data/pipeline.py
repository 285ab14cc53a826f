"""Reads batches from a prepared TFDS folder with tf.data."""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.errors import DataError
from bone_age_tf.images import graph_reading
from bone_age_tf.images.traced import are_functions_inlined
from bone_age_tf.regions.graph import fit_image
from bone_age_tf.regions.network import load_detector_network
from bone_age_tf.tensors import Tensor, Tensors

_HASH_BUCKETS = 10_000
_CACHE_BYTES = 2_000_000_000
_SHUFFLE_BYTES = 1_000_000_000
_WEIGHT = "weight"
_FEATURES = (schema.IMAGE, schema.IMAGE_ID, schema.SEX, schema.AGE_MONTHS)


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of a TFDS split: the whole split, or one side of a division by image id.

    Whether an id is held out depends only on the id, not on the other images of the split.

    Attributes:
        split: name of the TFDS split.
        holdout_fraction: share of held-out ids; 0 for the whole split.
        held_out: whether this is the held-out side; ignored for a whole split.
    """

    split: str
    holdout_fraction: float = 0.0
    held_out: bool = False

    def __str__(self) -> str:
        if not self.holdout_fraction:
            return self.split
        share = self.holdout_fraction if self.held_out else 1 - self.holdout_fraction
        return f"{share:.0%} of {self.split}, cut by id"


@dataclasses.dataclass(frozen=True)
class Table:
    """Labels of a part, in the order of `make_evaluation_dataset`.

    Attributes:
        image_id: ids of the N images.
        sex: [N] int64, codes of `schema.SEX_NAMES`.
        age_months: [N] float32, bone ages in months.
    """

    image_id: list[str]
    sex: np.ndarray
    age_months: np.ndarray

    def __len__(self) -> int:
        return len(self.image_id)


def choose_parts(
    splits: Sequence[str], holdout_fraction: float, use_validation_split: bool
) -> dict[str, Part]:
    """Chooses the parts of a dataset for training, validation and testing.

    Args:
        splits: names of the dataset's splits.
        holdout_fraction: share of the training ids held out for validation.
        use_validation_split: use the dataset's own validation split if it has one.

    Returns:
        `train`, `validation` and `test`; without a test split, `test` is the validation part.

    Raises:
        DataError: there is no training split, or there are no validation images.
    """
    if "train" not in splits:
        raise DataError(f"the dataset has no train split, only {', '.join(splits) or 'none'}")
    if use_validation_split and "validation" in splits:
        train, validation = Part("train"), Part("validation")
    else:
        if not 0 < holdout_fraction < 1:
            raise DataError(
                f"holdout_fraction is {holdout_fraction}; nothing is left to validate on. "
                "Choose a share between 0 and 1, such as --config.holdout_fraction=0.1"
            )
        train = Part("train", holdout_fraction, held_out=False)
        validation = Part("train", holdout_fraction, held_out=True)
    return {
        "train": train,
        "validation": validation,
        "test": Part("test") if "test" in splits else validation,
    }


def read_table(builder: tfds.core.DatasetBuilder, part: Part) -> Table:
    """Reads the labels of a part, without decoding images.

    Raises:
        DataError: the part is empty.
    """
    features = (schema.IMAGE_ID, schema.SEX, schema.AGE_MONTHS)
    rows = list(_read(builder, part, features).as_numpy_iterator())
    if not rows:
        raise DataError(f"{builder.info.full_name} has no images in {part}")
    return Table(
        [row[schema.IMAGE_ID].decode() for row in rows],
        np.array([row[schema.SEX] for row in rows], np.int64),
        np.array([row[schema.AGE_MONTHS] for row in rows], np.float32),
    )


def make_evaluation_dataset(
    builder: tfds.core.DatasetBuilder,
    part: Part,
    size_px: int,
    resize: str,
    batch_size: int,
    examples: int,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Returns batches of all examples of a part in a fixed order; the last may be smaller.

    Args:
        builder: TFDS builder of the prepared dataset.
        part: the part to read.
        size_px: side of the square images in pixels.
        resize: one of `schema.RESIZE_MODES`.
        batch_size: number of examples in a batch.
        examples: number of examples in the part; another number is an error while reading.
        shard: index of this worker and number of workers; each example is read by one worker.

    Returns:
        A dataset of `{"image": [B, size_px, size_px, 1] float32, "sex": [B, 1] float32}` and ages
        in months, [B, 1] float32.
    """
    dataset = _read(builder, part).shard(shard[1], shard[0])
    dataset = dataset.map(_resized(size_px, resize), num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.map(_inputs_and_age).batch(batch_size).prefetch(tf.data.AUTOTUNE)
    here = len(range(shard[0], examples, shard[1]))
    return dataset.apply(tf.data.experimental.assert_cardinality(math.ceil(here / batch_size)))


def make_training_dataset(
    builder: tfds.core.DatasetBuilder,
    part: Part,
    size_px: int,
    resize: str,
    batch_size: int,
    seed: int,
    examples: int,
    start_step: int = 0,
    stages: Sequence[tuple[int, int]] = (),
    shard: tuple[int, int] = (0, 1),
    trust: Mapping[str, float] | None = None,
) -> tf.data.Dataset:
    """Returns infinite shuffled batches, in an order that only depends on the seed.

    Images are decoded and resized once, and cached in memory as uint8 if this takes less than 2 GB.
    Only the order is random; augmentation is a part of the training graph.

    Args:
        builder: TFDS builder of the prepared dataset.
        part: the part to read.
        size_px: side of the square images in pixels.
        resize: one of `schema.RESIZE_MODES`.
        batch_size: number of examples in a batch; every batch is full.
        seed: seed of the order.
        examples: number of examples in the part, without excluded examples.
        start_step: number of batches to skip, so that a resumed run reads the same batches as an
            uninterrupted run.
        stages: (first step, side in pixels) in ascending order; from each step on, batches are
            shrunk to that side. Smaller images make early training cheaper (progressive resizing;
            for the effect of the sizes see Touvron et al. 2019, arXiv 1906.06423).
        shard: index of this worker and number of workers.
        trust: weights by image id; the default weight is 1, and images with 0 are excluded.

    Returns:
        As `make_evaluation_dataset`. With stages, height and width are not static; with trust, the
        weights [B] follow the ages.
    """
    dataset = _read(builder, part).shard(shard[1], shard[0])
    if trust:
        dataset = dataset.map(_weighed(trust)).filter(lambda row: row[_WEIGHT] > 0)
    dataset = dataset.map(_resized(size_px, resize), num_parallel_calls=tf.data.AUTOTUNE)
    dataset = dataset.map(_rounded)
    here = max(1, examples // shard[1])
    if here * size_px**2 < _CACHE_BYTES:
        dataset = dataset.cache()
    buffer = max(1, min(here, _SHUFFLE_BYTES // size_px**2))
    dataset = dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True).repeat()
    dataset = dataset.map(_inputs_age_and_weight if trust else _inputs_and_age)
    dataset = dataset.batch(batch_size, drop_remainder=True)
    dataset = dataset.skip(start_step)
    if stages:
        dataset = dataset.enumerate(start_step).map(
            _shrunk(stages, size_px), num_parallel_calls=tf.data.AUTOTUNE
        )
    return dataset.prefetch(tf.data.AUTOTUNE)


def read_images(
    builder: tfds.core.DatasetBuilder, part: Part, size_px: int, resize: str
) -> np.ndarray:
    """Reads all images of a part as [N, S, S] uint8, in the order of its table.

    Raises:
        DataError: the part is empty.
    """
    count = len(read_table(builder, part))
    dataset = make_evaluation_dataset(builder, part, size_px, resize, 64, count)
    batches = [inputs[schema.IMAGE].numpy()[..., 0] for inputs, _ in dataset]
    return np.rint(np.concatenate(batches)).astype(np.uint8)


def read_encoded(
    builder: tfds.core.DatasetBuilder, part: Part, features: Sequence[str] = ()
) -> tf.data.Dataset:
    """Returns all rows of a part with encoded images (PNG), in the order of its table.

    Args:
        builder: TFDS builder of the prepared dataset.
        part: the part to read.
        features: further features to read.
    """
    return _read(builder, part, (*_FEATURES, *features))


def _read(
    builder: tfds.core.DatasetBuilder, part: Part, features: Sequence[str] = _FEATURES
) -> tf.data.Dataset:
    dataset = builder.as_dataset(
        split=part.split,
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(
            dict.fromkeys(features, True), decoders={schema.IMAGE: tfds.decode.SkipDecoding()}
        )
        if schema.IMAGE in features
        else tfds.decode.PartialDecoding(dict.fromkeys(features, True)),
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    if part.holdout_fraction:
        limit = round(part.holdout_fraction * _HASH_BUCKETS)

        def on_this_side(row: Any) -> Tensor:
            bucket = tf.strings.to_hash_bucket_fast(row[schema.IMAGE_ID], _HASH_BUCKETS)
            return tf.equal(bucket < limit, part.held_out)

        dataset = dataset.filter(on_this_side)
    return dataset


def _resized(size_px: int, mode: str) -> Callable[..., Any]:
    image_fn = traced_decoding(size_px, mode)
    return lambda row: {**row, schema.IMAGE: image_fn(row[schema.IMAGE])}


@functools.cache
def traced_decoding(
    size_px: int, mode: str, trim: bool = False
) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a function from the bytes of a file to a model's input, traced once for a size.

    Tracing takes seconds, and a run makes ten datasets.

    Args:
        size_px: side of the input in pixels.
        mode: one of `schema.INPUT_MODES`.
        trim: whether margins are cropped first, as in the quality check.
    """
    detector = load_detector_network() if mode == schema.FRAME else None

    def decode(data: tf.Tensor) -> tf.Tensor:
        image = graph_reading.decode_radiograph(data)
        image = graph_reading.trim_margins(image) if trim else image
        return fit_image(image, size_px, mode, detector)[0]

    if are_functions_inlined():
        return decode
    traced = tf.function(decode, autograph=False)
    return traced.get_concrete_function(tf.TensorSpec([], tf.string))


def _rounded(row: Any) -> dict[str, Any]:
    return {**row, schema.IMAGE: tf.saturate_cast(tf.round(row[schema.IMAGE]), tf.uint8)}


def _inputs_and_age(row: Any) -> tuple[Any, ...]:
    inputs = {
        schema.IMAGE: tf.cast(row[schema.IMAGE], tf.float32),
        schema.SEX: tf.cast(row[schema.SEX], tf.float32)[None],
    }
    return inputs, row[schema.AGE_MONTHS][None]


def _inputs_age_and_weight(row: Any) -> tuple[Any, ...]:
    return *_inputs_and_age(row), row[_WEIGHT]


def _weighed(trust: Mapping[str, float]) -> Callable[..., Any]:
    weights = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(
            tf.constant(list(trust), tf.string), tf.constant(list(trust.values()), tf.float32)
        ),
        default_value=1.0,
    )
    return lambda row: {**row, _WEIGHT: weights.lookup(row[schema.IMAGE_ID])}


def _shrunk(stages: Sequence[tuple[int, int]], size_px: int) -> Callable[..., Any]:
    first_steps = tf.constant([first for first, _ in stages], tf.int64)
    sides = tf.constant([side for _, side in stages], tf.int32)

    def shrink_fn(step: Tensor, batch: Tensors) -> tuple[Any, ...]:
        inputs, *others = batch
        stage = tf.reduce_sum(tf.cast(step >= first_steps, tf.int32)) - 1
        side = sides[stage]
        image = tf.cond(
            tf.equal(side, size_px),
            lambda: inputs[schema.IMAGE],
            lambda: tf.image.resize(inputs[schema.IMAGE], [side, side], antialias=True),
        )
        return {**inputs, schema.IMAGE: tf.ensure_shape(image, [None, None, None, 1])}, *others

    return shrink_fn

"""Training data from a pack, for any Keras backend; imports TensorFlow only for that backend."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from bone_age_tf import schema
from bone_age_tf.data import label_trust
from bone_age_tf.data.pack import Pack
from bone_age_tf.errors import ConfigError
from bone_age_tf.settings import Config


@dataclasses.dataclass(frozen=True)
class PackedData:
    """The training and validation images of a pack; see `training.source`.

    With JAX all images of a stage are in the device's memory, and batches are gathered there.

    Attributes:
        pack: the pack of all images.
    """

    pack: Pack

    def labels(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Returns ids, sexes and ages of the training and the validation images."""
        pack = self.pack
        places = np.concatenate([pack.places(part) for part in ("train", "validation")])
        ids = [pack.image_id[place] for place in places]
        return ids, pack.sex[places], pack.age_months[places]

    def training_ids(self, config: Config) -> list[str]:
        """Returns the ids of the training images."""
        places, _ = self._training_places(config)
        return [self.pack.image_id[place] for place in places]

    def training_batches(
        self,
        config: Config,
        stages: Sequence[tuple[int, int]],
        seed: int,
        start_step: int,
        targets_fn: Callable[..., tuple],
    ) -> Any:
        """Returns infinite shuffled batches, each determined by the seed and its step."""
        places, weights = self._training_places(config)
        stages = stages or [(0, config.image_size_px)]
        batches = _TrainingBatches(
            _Images(self.pack, places, config.resize, weights),
            config.batch_size,
            stages,
            seed,
            start_step,
            targets_fn,
        )
        return _as_dataset(batches) if keras.backend.backend() == "tensorflow" else batches

    def validation_batches(self, config: Config, targets_fn: Callable[..., tuple]) -> Any:
        """Returns batches of all validation images in the order of the pack."""
        images = _Images(self.pack, self.pack.places("validation"), config.resize, None)
        return _ValidationBatches(images, config.image_size_px, config.batch_size, targets_fn)

    def _training_places(self, config: Config) -> tuple[np.ndarray, np.ndarray | None]:
        """Returns the indices [K] in the pack and the weights [K], None if all are equal."""
        pack, places = self.pack, self.pack.places("train")
        ids = [pack.image_id[place] for place in places]
        named = label_trust.image_weights(config, ids, pack.sex[places], pack.age_months[places])
        if not named:
            return places, None
        weights = np.array([named.get(image_id, 1.0) for image_id in ids], np.float32)
        return places[weights > 0], weights[weights > 0]


class _Images:
    """Labels of a pack and its images, decoded at one size at a time."""

    def __init__(self, pack: Pack, places: np.ndarray, resize: str, weights: np.ndarray | None):
        if not len(places):
            raise ConfigError("the pack has no image to train on or to validate on")
        self.places, self.weights = places, weights
        self._pack, self._resize = pack, resize
        self._at: tuple[int, Any] = (0, None)

    def batch(self, rows: np.ndarray, size_px: int) -> tuple:
        """Returns inputs, ages and, if there are weights, the weights of some images."""
        places = self.places[rows]
        pixels, sex = (
            self._pixels(rows, size_px),
            self._pack.sex[places].astype(np.float32)[:, None],
        )
        on_device = not isinstance(pixels, np.ndarray)  # Keras requires inputs of the same kind
        inputs = {
            schema.IMAGE: pixels,
            schema.SEX: ops.convert_to_tensor(sex) if on_device else sex,
        }
        batch = (inputs, self._pack.age_months[places].astype(np.float32)[:, None])
        return batch if self.weights is None else (*batch, self.weights[rows])

    def _pixels(self, rows: np.ndarray, size_px: int) -> Any:
        if self._at[0] != size_px:
            self._at = (0, None)  # frees the memory of the previous size
            pixels = self._pack.images(self.places, size_px, self._resize)[..., None]
            on_device = keras.backend.backend() == "jax"
            self._at = (size_px, ops.convert_to_tensor(pixels, "uint8") if on_device else pixels)
        pixels = self._at[1]
        if isinstance(pixels, np.ndarray):
            return pixels[rows].astype(np.float32)
        return ops.cast(ops.take(pixels, rows, axis=0), "float32")


class _TrainingBatches(keras.utils.PyDataset):
    """Infinite batches from repeated shuffled passes over the images."""

    def __init__(
        self,
        images: _Images,
        batch_size: int,
        stages: Sequence[tuple[int, int]],
        seed: int,
        start_step: int,
        targets_fn: Callable[..., tuple],
    ):
        super().__init__()
        self.images, self.batch_size, self.stages = images, batch_size, stages
        self.seed, self.start_step, self.targets_fn = seed, start_step, targets_fn
        self._order = functools.lru_cache(maxsize=2)(self._shuffled)

    @property
    def num_batches(self) -> None:
        """Returns None: the number of batches is infinite."""

    def __getitem__(self, index: int) -> tuple:
        step = self.start_step + index
        size_px = [side for first, side in self.stages if first <= step][-1]
        return self.targets_fn(*self.images.batch(self.rows(step), size_px))

    def rows(self, step: int) -> np.ndarray:
        """Returns the indices [B] of the images in the batch of a step."""
        count = len(self.images.places)
        numbers = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._order(int(n // count))[n % count] for n in numbers])

    def _shuffled(self, passed: int) -> np.ndarray:
        return np.random.default_rng([self.seed, passed]).permutation(len(self.images.places))


class _ValidationBatches(keras.utils.PyDataset):
    """Batches of all images once; the last batch may be smaller."""

    def __init__(
        self, images: _Images, size_px: int, batch_size: int, targets_fn: Callable[..., tuple]
    ):
        super().__init__()
        self.images, self.size_px, self.batch_size = images, size_px, batch_size
        self.targets_fn = targets_fn

    def __len__(self) -> int:
        return math.ceil(len(self.images.places) / self.batch_size)

    def __getitem__(self, index: int) -> tuple:
        rows = np.arange(len(self.images.places))
        rows = rows[index * self.batch_size : (index + 1) * self.batch_size]
        return self.targets_fn(*self.images.batch(rows, self.size_px))


def _as_dataset(batches: _TrainingBatches) -> Any:
    """Converts batches to a tf.data.Dataset; the image size may change between batches."""
    import tensorflow as tf

    def spec(array: Any) -> tf.TensorSpec:
        shape = (None, None, None, 1) if np.ndim(array) == 4 else (None, *np.shape(array)[1:])
        return tf.TensorSpec(shape, tf.as_dtype(array.dtype))

    def generate() -> Iterator[Any]:
        index = 0
        while True:
            yield batches[index]
            index += 1

    signature = tf.nest.map_structure(spec, batches[0])
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return dataset.prefetch(2)

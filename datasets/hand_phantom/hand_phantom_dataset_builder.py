"""hand_phantom: procedural radiographs of children's left hands, generated, not downloaded."""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf import schema
from bone_age_tf.data.builders import radiograph_features

from . import radiograph

SPLITS: Final = ("train", "validation", "test")
"""Order matters: a split's position is part of the seed of its examples."""

CHRONOLOGICAL_SD_MONTHS: Final = 10.0
"""SD of chronological minus bone age. About the mean SD of the Brush Foundation standards over
school ages (Greulich and Pyle 1959), here the same at every age."""

MIN_CHRONOLOGICAL_AGE_MONTHS: Final = 1.0


@dataclasses.dataclass(eq=False)
class HandPhantomConfig(tfds.core.BuilderConfig):
    """Size of a generated dataset.

    Attributes:
        train: number of training examples.
        validation: number of validation examples.
        test: number of test examples.
        image_size_px: height and width of the images.
        min_age_months: lower end of the uniform distribution of bone ages.
        max_age_months: upper end of it.
        seed: seed of everything random; equal configurations give equal datasets.
    """

    train: int = 1200
    validation: int = 200
    test: int = 400
    image_size_px: int = 128
    min_age_months: float = 12.0
    max_age_months: float = 216.0
    seed: int = 20171125


def make_example(
    config: HandPhantomConfig, split: str, index: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Makes one example; it depends on nothing but the arguments.

    Args:
        config: the configuration.
        split: one of `SPLITS`.
        index: position in the split. Even positions are girls, odd ones boys.

    Returns:
        The image [H, W, 1] uint8 and the other features by name.
    """
    rng = np.random.default_rng([config.seed, SPLITS.index(split), index])
    sex = (schema.FEMALE, schema.MALE)[index % 2]
    age = rng.uniform(config.min_age_months, config.max_age_months)
    deviation = CHRONOLOGICAL_SD_MONTHS * rng.standard_normal()
    image = radiograph.draw_hand(age, sex, rng, config.image_size_px)
    return image[:, :, None], {
        schema.IMAGE_ID: f"phantom_{split}_{index:05d}",
        schema.SEX: schema.SEX_NAMES[sex],
        schema.AGE_MONTHS: np.float32(age),
        schema.CHRONOLOGICAL_AGE_MONTHS: np.float32(
            max(MIN_CHRONOLOGICAL_AGE_MONTHS, age + deviation)
        ),
    }


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds hand_phantom."""

    # TFDS would ask the top-level package for both, but bone_age_datasets is a namespace package,
    # which has no single folder; in an editable install under Python 3.11 the question fails.
    pkg_dir_path = epath.Path(pathlib.Path(__file__).parent)
    code_path = epath.Path(__file__)

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012 (TFDS declares it so)
    BUILDER_CONFIGS = [  # noqa: RUF012
        HandPhantomConfig(
            name="small", description="1200, 200 and 400 images of 128 px; made within a minute."
        ),
        HandPhantomConfig(
            name="large",
            description="10000, 1000 and 1000 images of 128 px.",
            train=10000,
            validation=1000,
            test=1000,
        ),
        HandPhantomConfig(
            name="tiny",
            description="48, 16 and 16 images of 64 px, for tests.",
            train=48,
            validation=16,
            test=16,
            image_size_px=64,
        ),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "small"

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=radiograph_features(),
            supervised_keys=(schema.IMAGE, schema.AGE_MONTHS),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing to download
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        assert isinstance(config, HandPhantomConfig)
        for index in range(getattr(config, split)):
            image, features = make_example(config, split, index)
            yield features[schema.IMAGE_ID], {schema.IMAGE: image, **features}

"""hand_phantom: procedural radiographs of children's left hands, generated, not downloaded."""

import dataclasses
import functools
import io
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from bone_age_tf import progress, schema
from bone_age_tf.data.builders import in_beam, radiograph_features
from bone_age_tf.errors import DataError

from . import examples, truth
from .population import SPLITS, PhantomSettings

Documentation = tfds.features.Documentation


@dataclasses.dataclass(eq=False)
class HandPhantomConfig(tfds.core.BuilderConfig):
    """A population of phantoms and the number and size of their images.

    Attributes:
        settings: what the dataset holds.
        processes: how many draw at once, None to decide by the cores; changes nothing else.
    """

    settings: PhantomSettings = dataclasses.field(default_factory=PhantomSettings)
    processes: int | None = None


def phantom_features() -> tfds.features.FeaturesDict:
    """Returns the schema's features and the truth of each image."""
    bones = len(truth.BONES)
    per_bone = f"One value a bone, in this order: {', '.join(truth.BONES)}."
    box = tfds.features.BBoxFeature()
    return tfds.features.FeaturesDict(
        {
            **dict(radiograph_features().items()),
            "skeletal_age_months": tfds.features.Scalar(
                np.float32, doc="Age at which the ossification centres are drawn."
            ),
            "bones": tfds.features.FeaturesDict(
                {
                    "present": tfds.features.Tensor(shape=(bones,), dtype=np.bool_),
                    "width_ratio": tfds.features.Tensor(shape=(bones,), dtype=np.float32),
                    "fused": tfds.features.Tensor(shape=(bones,), dtype=np.float32),
                },
                doc=Documentation(desc=per_bone),
            ),
            "regions": tfds.features.Sequence(
                {"bbox": box, "region": tfds.features.ClassLabel(names=truth.REGIONS)}
            ),
            "carpals": tfds.features.Sequence(
                {"bbox": box, "carpal": tfds.features.ClassLabel(names=truth.CARPALS)}
            ),
            "landmarks": tfds.features.Tensor(
                shape=(len(truth.LANDMARKS), 2),
                dtype=np.float32,
                doc=f"(x, y), fractions of the image, in this order: {', '.join(truth.LANDMARKS)}.",
            ),
            "mask": tfds.features.Image(
                shape=(None, None, 1),
                dtype=np.uint8,
                encoding_format="png",
                doc="255 on hand and forearm, 0 elsewhere.",
            ),
            "laterality": tfds.features.ClassLabel(names=examples.LATERALITY_NAMES),
            "inverted": tfds.features.Scalar(np.bool_, doc="Bone is dark."),
        }
    )


class _Split:
    """The examples of one split; TFDS' own progress bar asks for their number."""

    def __init__(self, builder: "Builder", name: str):
        self._builder, self._name = builder, name

    def __len__(self) -> int:
        return self._builder.settings.count(self._name)

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        return self._builder._generate_examples(self._name)


def _config(name: str, description: str, **settings: Any) -> HandPhantomConfig:
    return HandPhantomConfig(
        name=name, description=description, settings=PhantomSettings(**settings)
    )


class Builder(tfds.core.GeneratorBasedBuilder):
    """Builds hand_phantom."""

    # TFDS would ask the top-level package for both, but bone_age_datasets is a namespace package,
    # which has no single folder; in an editable install under Python 3.11 the question fails.
    pkg_dir_path = epath.Path(pathlib.Path(__file__).parent)
    code_path = epath.Path(__file__)

    VERSION = tfds.core.Version("2.1.0")
    RELEASE_NOTES = {  # noqa: RUF012 (TFDS declares it so)
        "2.1.0": "Walls of shafts thicken from puberty on.",
        "2.0.0": "The truth with each image; populations; ages from 3 to 228 months; new drawing.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS = [  # noqa: RUF012
        _config("small", "1200, 200 and 400 images of 128 px, with films much alike.", variety=0.3),
        _config("varied", "As small, with films as different as real ones."),
        _config(
            "large",
            "As varied, with 10000, 1000 and 1000 images.",
            train=10000,
            validation=1000,
            test=1000,
        ),
        _config(
            "only_bones",
            "As large, with films much alike and hands of any size at any age: only bones tell it.",
            train=10000,
            validation=1000,
            test=1000,
            variety=0.3,
            random_size=True,
        ),
        _config(
            "tiny",
            "As varied, with 48, 16 and 16 images of 64 px, for tests.",
            train=48,
            validation=16,
            test=16,
            image_size_px=64,
        ),
        _config("px96", "As varied, at 96 px.", image_size_px=96),
        _config("px256", "As varied, at 256 px.", image_size_px=256),
        _config(
            "rsna_like",
            "As varied; ages spread like those of the RSNA 2017 training images.",
            age_distribution="rsna_like",
        ),
        _config("skewed", "As varied; mostly young children.", age_distribution="skewed"),
        _config(
            "shifted",
            "As varied; hands 12 months more mature than their label.",
            maturity_shift_months=12.0,
        ),
        _config("noisy", "As varied; labels with an error of SD 6 months.", label_noise_months=6.0),
        _config("girls", "As varied; four of five children are girls.", female_fraction=0.8),
    ]
    DEFAULT_BUILDER_CONFIG_NAME = "small"

    def __init__(self, *, with_beam: bool = False, **kwargs: Any):
        """Makes the builder.

        Args:
            with_beam: draw with Apache Beam, on `DownloadConfig.beam_runner`; the examples and
                their order are the same.
            **kwargs: see `tfds.core.GeneratorBasedBuilder`.

        Raises:
            DataError: the folder holds a dataset of the same configuration name and other
                settings.
        """
        super().__init__(**kwargs)
        self._original_state.update(with_beam=with_beam)  # for pickling
        self._with_beam = with_beam
        wanted = dataclasses.asdict(self.settings)
        found = self.info.metadata["settings"]
        other = [f"{name} {found.get(name)}" for name in wanted if found.get(name) != wanted[name]]
        if other:
            raise DataError(
                f"{self.data_dir} was prepared with other settings ({', '.join(other)}); name the "
                "configuration differently or delete the folder"
            )

    @property
    def settings(self) -> PhantomSettings:
        """The settings of the configuration."""
        config = self.builder_config
        assert isinstance(config, HandPhantomConfig)
        return config.settings

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            features=phantom_features(),
            supervised_keys=(schema.IMAGE, schema.AGE_MONTHS),
            metadata=tfds.core.MetadataDict(
                settings=dataclasses.asdict(self.settings),
                bones=list(truth.BONES),
                landmarks=list(truth.LANDMARKS),
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        del dl_manager  # nothing to download
        names = [name for name in SPLITS if self.settings.count(name)]
        if not self._with_beam:
            return {name: _Split(self, name) for name in names}
        return {
            name: in_beam(
                range(self.settings.count(name)),
                functools.partial(_make_example, self.settings, name),
            )
            for name in names
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        config = self.builder_config
        assert isinstance(config, HandPhantomConfig)
        made = examples.make_examples(
            config.settings, split, config.processes, progress=False, encode_png=True
        )
        if not sys.stderr.isatty():  # on a terminal TFDS shows a bar of its own
            count = config.settings.count(split)
            made = progress.shown(made, count, f"drawing the {split} hands", sys.stderr)
        for image, features in made:
            yield _keyed(image, features)


def _make_example(settings: PhantomSettings, split: str, index: int) -> tuple[str, dict[str, Any]]:
    return _keyed(*examples.make_encoded_example(settings, split, index))


def _keyed(image: bytes, features: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Returns the key and the features of an example with an encoded image and mask."""
    encoded = {schema.IMAGE: io.BytesIO(image), "mask": io.BytesIO(features["mask"])}
    return features[schema.IMAGE_ID], {**features, **encoded}

"""Recipes: stages of a training, each an ordinary run with initial weights from earlier stages."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bone_age_tf.config import load_config
from bone_age_tf.settings import Config


@dataclasses.dataclass(frozen=True)
class Stage:
    """A training stage.

    Attributes:
        name: name of the stage, and of its folder in the recipe's folder.
        settings: settings that differ from the model's config for the dataset, by dotted key.
        init: initial weights, `random`, `imagenet` or a file, for a stage without earlier stages.
        after: names of earlier stages, the mean of whose weights are the initial weights.
        seed: seed of every random choice.
    """

    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    init: str = "random"
    after: tuple[str, ...] = ()
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A training in several stages, the last of which has the result.

    Attributes:
        name: name of the recipe.
        model: a key of `models.catalog.MODELS`.
        dataset: a dataset as in `--dataset`, such as `rsna_bone_age/px512`.
        stages: stages in their order.
        pack_px: longer side of the images in a pack for this recipe in pixels; 0 keeps the sizes.
        pack_quality: JPEG quality in a pack; 0 for PNG.
    """

    name: str
    model: str
    dataset: str
    stages: tuple[Stage, ...]
    pack_px: int = 0
    pack_quality: int = 0

    def __post_init__(self) -> None:
        """Checks that the names of stages are unique and that stages follow earlier ones."""
        known: set[str] = set()
        for stage in self.stages:
            unknown = set(stage.after) - known
            if stage.name in known or unknown:
                raise ValueError(
                    f"recipe {self.name}: stage {stage.name!r} is there twice, or follows "
                    f"{sorted(unknown)}, which come later or not at all"
                )
            known.add(stage.name)

    def config(self, stage: Stage, init: str, overrides: Sequence[tuple[str, str]] = ()) -> Config:
        """Returns the resolved config of a stage.

        Args:
            stage: a stage of this recipe.
            init: its initial weights, as in `config.init`.
            overrides: the user's settings, as on the command line.

        Raises:
            ConfigError: a setting does not exist or has another type.
        """
        stage_settings = [
            (key, value if isinstance(value, str) else repr(value))
            for key, value in stage.settings.items()
        ]
        settings = [("init", init), *stage_settings, *overrides]
        return load_config(self.model, self.dataset.partition("/")[0], settings)

"""The model that `fit` sees: augmentation in front of the network, in training steps alone."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras

from bone_age_tf import schema
from bone_age_tf.tensors import Tensor, Tensors
from bone_age_tf.training.second_view import SecondView, apart_loss, view_loss

_MIXED_AGE = "mixed_age"


@dataclasses.dataclass(frozen=True)
class PartWeights:
    """Weights of what is asked of the boxes of parts; see `second_view`.

    Attributes:
        second_view: that a moved copy has them at the same places of the hand.
        apart: that they lie apart.
    """

    second_view: float
    apart: float


class AugmentedModel(keras.Model):
    """Runs the augmentation on the accelerator, then the network.

    Outside training steps this is the network itself, and it is the network that is saved and
    exported, so augmentation reaches neither.

    Args:
        network: made by `bone_age_tf.models.build.build_model`.
        augmentation: from [B, H, W, 1] to the same, or None.
        trained_outputs: names of the outputs that have a loss.
        mixing: from images, sexes and ages to images and ages, after the augmentation, or None.
        part_weights: of a network that selects parts; None for others.
        seed: of the moved copies.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: keras.Layer | None,
        trained_outputs: tuple[str, ...],
        mixing: keras.Layer | None = None,
        part_weights: PartWeights | None = None,
        seed: int = 0,
    ):
        # float32 whatever the policy: pixels of 0 to 255 lose their decimals in half precision.
        super().__init__(name=f"augmented_{network.name}", dtype="float32")
        self.network = network
        self.augmentation = augmentation
        self.trained_outputs = trained_outputs
        self.mixing = mixing
        self._steps_to_skip = 0
        self.part_weights = part_weights
        if part_weights is not None:
            self.second_view = SecondView(seed=seed)
            # The convolutions that find the parts, without the crops
            self.locator = keras.Model(network.input, network.output[schema.PART_BOXES])

    def build(self, input_shape: Any = None) -> None:
        """Builds the augmentation, so that its random state is part of every checkpoint."""
        if self.augmentation is not None and not self.augmentation.built:
            self.augmentation.build((None, None, None, 1))
        self.built = True

    def skip_steps(self, steps: int) -> None:
        """Makes the first steps of the next `fit` pass without training, to resume in an epoch."""
        self._steps_to_skip = steps

    def make_train_function(self, force: bool = False) -> None:
        """As Keras' own, with the steps before it that are to be skipped."""
        super().make_train_function(force)
        train_step: Callable = self.train_function  # type: ignore[has-type]
        if not self._steps_to_skip:
            return

        def skipping_train_function(*arguments: Any) -> Tensor:
            if self._steps_to_skip:
                self._steps_to_skip -= 1
                # JAX's trainer passes its state through the function, the others do not.
                return ({}, arguments[0]) if len(arguments) == 2 else {}
            return train_step(*arguments)

        self.train_function = skipping_train_function

    def call(self, inputs: Tensors, training: bool = False) -> Tensor:
        """Maps `{"image": [B, H, W, 1], "sex": [B, 1]}` to the trained outputs.

        With a mixing, training steps take `age_months` [B, 1] too, and return what it became.
        """
        image, mixed = inputs[schema.IMAGE], {}
        if training and self.augmentation is not None:
            image = self.augmentation(image, training=True)
        if training and self.mixing is not None:
            image, mixed[_MIXED_AGE] = self.mixing(
                [image, inputs[schema.SEX], inputs[schema.AGE_MONTHS]]
            )
        outputs = self.network(
            {schema.IMAGE: image, schema.SEX: inputs[schema.SEX]}, training=training
        )
        if training and self.part_weights is not None:
            boxes = outputs[schema.PART_BOXES]
            self._ask_of_parts(image, inputs[schema.SEX], boxes, self.part_weights)
        return {name: outputs[name] for name in self.trained_outputs} | mixed

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """As Keras' own, with the ages of mixed images where these are mixed.

        Metrics compare with the ages of the first images.
        """
        mixed = y_pred.pop(_MIXED_AGE, None)
        if mixed is not None:
            y = dict.fromkeys(y, mixed)
        return super().compute_loss(x, y, y_pred, sample_weight, training)

    def _ask_of_parts(
        self, image: Tensor, sex: Tensor, boxes: Tensor, weights: PartWeights
    ) -> None:
        copy, moves = self.second_view(image)
        in_copy = self.locator({schema.IMAGE: copy, schema.SEX: sex}, training=True)
        self.add_loss(weights.second_view * view_loss(boxes, in_copy, moves))
        self.add_loss(weights.apart * apart_loss(boxes))

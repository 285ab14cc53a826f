"""The model for `fit`: augmentation in front of the network, in training steps only."""

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
    """Weights of the losses on the boxes of parts; see `second_view`.

    Attributes:
        second_view: weight of the consistency with a transformed copy.
        apart: weight of the distance between boxes.
    """

    second_view: float
    apart: float


class AugmentedModel(keras.Model):
    """Runs the augmentation on the accelerator, then the network.

    Outside training steps only the network runs. Only the network is saved and exported.

    Args:
        network: a model that `bone_age_tf.models.build.build_model` built.
        augmentation: a model from images [B, H, W, 1] to such images, or None.
        trained_outputs: names of the outputs that have a loss.
        mixing: a layer from images, sexes and ages to images and ages, which runs after the
            augmentation, or None.
        part_weights: weights for a network that selects parts; None for other networks.
        seed: seed of the transformed copies.
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
        # Always float32: pixels from 0 to 255 would lose decimals in half precision.
        super().__init__(name=f"augmented_{network.name}", dtype="float32")
        self.network = network
        self.augmentation = augmentation
        self.trained_outputs = trained_outputs
        self.mixing = mixing
        self._steps_to_skip = 0
        self.part_weights = part_weights
        if part_weights is not None:
            self.second_view = SecondView(seed=seed)
            # The convolutions that propose the parts, without the crops
            self.locator = keras.Model(network.input, network.output[schema.PART_BOXES])

    def build(self, input_shape: Any = None) -> None:
        """Builds the augmentation, so that its random state is part of every checkpoint."""
        if self.augmentation is not None and not self.augmentation.built:
            self.augmentation.build((None, None, None, 1))
        self.built = True

    def skip_steps(self, steps: int) -> None:
        """Skips the first steps of the next `fit`, to resume within an epoch."""
        self._steps_to_skip = steps

    def make_train_function(self, force: bool = False) -> None:
        """Returns Keras' train function, which skips the first steps if needed."""
        super().make_train_function(force)
        train_step: Callable = self.train_function  # type: ignore[has-type]
        if not self._steps_to_skip:
            return

        def skipping_train_function(*arguments: Any) -> Tensor:
            if self._steps_to_skip:
                self._steps_to_skip -= 1
                # Only JAX's trainer passes its state through the function.
                return ({}, arguments[0]) if len(arguments) == 2 else {}
            return train_step(*arguments)

        self.train_function = skipping_train_function

    def call(self, inputs: Tensors, training: bool = False) -> Tensor:
        """Maps `{"image": [B, H, W, 1], "sex": [B, 1]}` to the trained outputs.

        With a mixing layer, training steps also take `age_months` [B, 1] and return mixed ages.
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
        """Computes Keras' loss, with mixed ages if images are mixed.

        Metrics use the ages of the first images.
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

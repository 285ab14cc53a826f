"""The model that `fit` sees: augmentation in front of the network, in training steps alone."""

import keras

from bone_age_tf import schema


class AugmentedModel(keras.Model):
    """Runs the augmentation on the accelerator, then the network.

    Outside training steps this is the network itself, and it is the network that is saved and
    exported, so augmentation reaches neither.

    Args:
        network: made by `bone_age_tf.models.build.build_model`.
        augmentation: from [B, H, W, 1] to the same, or None.
        trained_outputs: names of the outputs that have a loss.
    """

    def __init__(
        self,
        network: keras.Model,
        augmentation: keras.Layer | None,
        trained_outputs: tuple[str, ...],
    ):
        # float32 whatever the policy: pixels of 0 to 255 lose their decimals in half precision.
        super().__init__(name=f"augmented_{network.name}", dtype="float32")
        self.network = network
        self.augmentation = augmentation
        self.trained_outputs = trained_outputs

    def build(self, input_shape=None):
        """Builds the augmentation, so that its random state is part of every checkpoint."""
        if self.augmentation is not None and not self.augmentation.built:
            self.augmentation.build((None, None, None, 1))
        self.built = True

    def call(self, inputs, training=False):
        """Maps `{"image": [B, H, W, 1], "sex": [B, 1]}` to the trained outputs."""
        image = inputs[schema.IMAGE]
        if training and self.augmentation is not None:
            image = self.augmentation(image, training=True)
        outputs = self.network(
            {schema.IMAGE: image, schema.SEX: inputs[schema.SEX]}, training=training
        )
        return {name: outputs[name] for name in self.trained_outputs}

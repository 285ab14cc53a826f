"""A plain convolutional network: convolution and pooling, then fully connected layers.

Reviews of deep learning for bone age describe this structure. This network has a batch norm behind
each convolution and five stages of 32 to 256 filters (`base_filters` 32). The last map is averaged
to 3 x 3 places for images of any size, so that the fully connected layer retains the location of
features.
"""

from typing import Any

import keras
from keras import layers as kl
from keras import ops

from bone_age_tf.models import heads, layers
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.removal import WITHOUT_PLACE, PlacesLayer
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Shape, Tensor, Tensors

TURNS = 5
PLACES = 3
"""Side of the grid that is the input of the fully connected layer."""


def traits(name: str) -> ModelTraits:
    """Declares that the map is pooled to a grid instead of a single mean."""

    def without_place(model: keras.Model, places: Tensor, features: Tensor) -> Tensor:
        return GridWithoutPlace(PLACES, name=WITHOUT_PLACE)([places, features])

    return ModelTraits(
        pooled_map=lambda model: model.get_layer("grid_means").input, without_place=without_place
    )


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: of stride 8, before its pooling."""
    return "block4_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds the network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config, see `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`.
    """
    x = build_photometry(image, config, channels=1)
    for turn in range(1, TURNS + 1):
        filters = config.base_filters * min(2 ** (turn - 1), 8)
        x = kl.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{turn}_conv")(x)
        x = kl.BatchNormalization(momentum=0.9, name=f"block{turn}_bn")(x)
        x = kl.ReLU(name=f"block{turn}_out")(x)
        if turn < TURNS:
            x = kl.MaxPooling2D(2, name=f"block{turn}_pool")(x)
    x = layers.GridMeans(PLACES, name="grid_means")(x)
    features = kl.Flatten(name="image_features")(x)
    return heads.build_head(features, sex, config)


@keras.saving.register_keras_serializable("bone_age_tf")
class GridWithoutPlace(PlacesLayer):
    """The flattened means of `layers.GridMeans` without the contribution of one place.

    Args:
        side: number of cells along a side.
    """

    def __init__(self, side: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.side = side

    def call(self, inputs: Tensors) -> Tensor:
        """Maps a feature map [B, H, W, C] and means [B, side * side * C] to [B * H * W, ...]."""
        places, features = inputs
        height, width, channels = places.shape[1:]
        weights = layers.GridMeans(self.side, dtype="float32").weights_of
        rows, columns = (ops.transpose(weights(count)) for count in (height, width))
        shares = rows[:, None, :, None] * columns[None, :, None, :]
        shares = ops.reshape(shares, (1, height * width, self.side**2, 1))
        given = shares * ops.reshape(places, (-1, height * width, 1, channels))
        count = self.side**2 * channels
        given = ops.reshape(given, (-1, height * width, count))
        return ops.reshape(features[:, None] - given, (-1, count))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, input_shape[1][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}

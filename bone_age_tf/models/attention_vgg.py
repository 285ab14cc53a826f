"""VGG with spatial attention ("Learn to Pay Attention"; Jetley et al. 2018, arXiv 1804.02391).

From the paper: local features at three depths are projected to the size of a global vector g. Each
place i has a compatibility with it, either parametrised, <u, l_i + g>, or a dot product, <l_i, g>.
A softmax over the places gives the attention, by which the features are averaged. The prediction is
computed from the three averages.

Deviations: the depths are the ends of VGG's third, fourth and fifth block, with strides 4, 8 and
16. g is the mean of the last block, without fully connected layers. The dot product is divided by
the square root of its length, as in later attention. Head and sex encoding are those of the other
models. In the parametrised form <u, g> is the same at every place and cancels in the softmax, so
that g has no effect; the dot product is therefore the default.
"""

from typing import Any

import keras
from keras import layers as kl
from keras import ops

from bone_age_tf import schema
from bone_age_tf.errors import require_known
from bone_age_tf.models import heads, vgg
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.removal import WITHOUT_PLACE, PlacesLayer
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Shape, Tensor, Tensors

COMPATIBILITIES = ("dot", "parametrised")
FIRST_ATTENDED = 3


def traits(name: str) -> ModelTraits:
    """Declares the attention maps, and the map of the second depth as the pooled map."""

    def without_place(model: keras.Model, places: Tensor, features: Tensor) -> Tensor:
        attention = model.get_layer("attend_2").output[1]
        start = model.get_layer("image_features").input[0].shape[-1]
        layer = AttendedWithoutPlace(start, name=WITHOUT_PLACE)
        return layer([places, attention, features])

    return ModelTraits(
        own_maps=("attention",),
        pooled_map=lambda model: model.get_layer("attend_2").input[0],
        without_place=without_place,
    )


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the second depth of the attention."""
    return "block4_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds VGG with attention from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `compatibility`, `base_filters`, `batch_norm`. See
            `heads.build_head` too.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`, and the attention at the three depths,
        `attention_1` to `attention_3`, each [B, H', W'] with a sum of 1.

    Raises:
        ConfigError: `compatibility` is unknown.
    """
    require_known("compatibility", config.compatibility, COMPATIBILITIES)
    x = build_photometry(image, config)
    maps = []
    for number in range(1, len(vgg.CONVOLUTIONS) + 1):
        x = vgg.build_block(x, number, config, shortcut=False)
        if number >= FIRST_ATTENDED:
            maps.append(x)
        if number < len(vgg.CONVOLUTIONS):
            x = kl.MaxPooling2D(2, 2, name=f"block{number}_pool")(x)
    query = kl.GlobalAveragePooling2D(name="global_vector")(x)
    attended, attentions = [], {}
    for depth, (name, local) in enumerate(zip(schema.ATTENTIONS, maps, strict=True), start=1):
        project = kl.Conv2D(query.shape[-1], 1, use_bias=False, name=f"project_{depth}")
        attend = SpatialAttention(config.compatibility, name=f"attend_{depth}")
        mean, attentions[name] = attend([project(local), query])
        attended.append(mean)
    features = kl.Concatenate(name="image_features")(attended)
    return heads.build_head(features, sex, config) | attentions


@keras.saving.register_keras_serializable("bone_age_tf")
class SpatialAttention(kl.Layer):
    """Averages local features, weighted by their compatibility with a global vector.

    Args:
        compatibility: `dot` or `parametrised`.
    """

    def __init__(self, compatibility: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.compatibility = compatibility

    def build(self, input_shape: Shape) -> None:
        if self.compatibility == "parametrised":
            channels = input_shape[0][-1]
            normal = keras.initializers.RandomNormal(stddev=channels**-0.5)
            self.direction = self.add_weight((channels,), normal, name="direction")

    def call(self, inputs: Tensors) -> Tensors:
        """Maps features [B, H, W, C] and a vector [B, C] to [B, C] and the attention [B, H, W]."""
        local, query = inputs
        query = query[:, None, None, :]
        if self.compatibility == "parametrised":
            scores = ops.sum((local + query) * self.direction, axis=-1)
        else:
            scores = ops.sum(local * query, axis=-1) * local.shape[-1] ** -0.5
        shape = ops.shape(scores)
        # The precision of half-precision formats is too low for a softmax over many places.
        flat = ops.softmax(ops.cast(ops.reshape(scores, (-1, shape[1] * shape[2])), "float32"))
        attention = ops.reshape(flat, (-1, shape[1], shape[2]))
        weights = ops.cast(attention, self.compute_dtype)[..., None]
        return ops.sum(local * weights, axis=(1, 2)), attention

    def compute_output_spec(self, inputs: Tensors) -> Any:
        local, query = inputs
        return (
            keras.KerasTensor(query.shape, self.compute_dtype),
            keras.KerasTensor(local.shape[:3], "float32"),
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "compatibility": self.compatibility}


@keras.saving.register_keras_serializable("bone_age_tf")
class AttendedWithoutPlace(PlacesLayer):
    """Concatenated attended means, without the contribution of one place to one of them.

    Args:
        start: index of the first feature of that mean.
    """

    def __init__(self, start: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start

    def call(self, inputs: Tensors) -> Tensor:
        """Maps [B, H, W, C], its attention [B, H, W] and features [B, F] to [B * H * W, F]."""
        local, attention, features = inputs
        height, width, channels = local.shape[1:]
        given = ops.cast(local, "float32") * attention[..., None]
        given = ops.reshape(given, (-1, height * width, channels))
        after = features.shape[-1] - self.start - channels
        given = ops.pad(given, [[0, 0], [0, 0], [self.start, after]])
        return ops.reshape(features[:, None] - given, (-1, features.shape[-1]))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (None, input_shape[2][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "start": self.start}

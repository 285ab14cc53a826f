"""A small network that detects the 17 ossification regions of Koitka et al. 2018.

The regions and their purpose are the paper's (doi 10.1371/journal.pone.0207496), which detects them
with Faster R-CNN at full resolution. This network has a structured head instead of anchors and
non-maximum suppression. Every upright hand has each region once. Each region therefore has its own
heatmap, whose softmax over the image gives its location (CenterNet, Zhou et al. 2019, arXiv
1904.07850, has a heatmap for each class; the expected location under the softmax is the integral
regression of Sun et al. 2018, arXiv 1711.08229, with a resolution below the cells of the map).
Features averaged with the same softmax give the size of the box and its expected overlap. At 100 px
the last joint of a finger is 6 px wide, so that few anchors of a grid would overlap it by half.
The network consists of convolutions and matrix products, which LiteRT runs with built-in operators.
"""

import functools
import json
from pathlib import Path
from typing import Any

import keras
from keras import layers as kl
from keras import ops

from bone_age_tf import catalog, schema
from bone_age_tf.errors import ModelError
from bone_age_tf.models.layers import PercentileStretch
from bone_age_tf.program import program
from bone_age_tf.tensors import Shape, Tensor, Tensors

SIZE_PX = 128
SOURCE_PX = 192
"""Side of the images that training draws its samples from; the hand is cut out of them."""
HEATMAPS = "region_heatmaps"
"""Output of the network in training, [B, H * W, 17] logits over the cells of a map of stride 4."""
STRIDE = 4
_STEM, _STAGES, _JOINED = 16, (32, 56, 96, 144), (96, 64, 48)
MEAN_SIDES = (0.09, 0.11)
"""Height and width of a usual region as fractions of the image, the initial prediction."""


def build_region_detector(size_px: int = SIZE_PX) -> keras.Model:
    """Builds the network.

    Args:
        size_px: side of the images in pixels; a multiple of 32.

    Returns:
        A functional model from `image` [B, S, S, 1], 0 to 255, to a dict: `region_boxes`
        [B, 17, 4] and `region_scores` [B, 17], see `schema.REGIONS`, and `HEATMAPS`.
    """
    image = keras.Input((size_px, size_px, 1), name=schema.IMAGE, dtype="float32")
    x = kl.Rescaling(2.0, offset=-1.0, name="to_unit_range")(PercentileStretch()(image))
    x = _convolve(x, "stem", _STEM, 2)
    maps = []
    for number, filters in enumerate(_STAGES, start=1):
        x = _convolve(x, f"stage{number}_1", filters, 2)
        x = _convolve(x, f"stage{number}_2", filters)
        maps.append(x)
    for number, filters in enumerate(_JOINED, start=1):
        fine = maps[-1 - number]
        x = kl.Conv2D(filters, 1, name=f"up{number}_reduce")(x)
        x = kl.UpSampling2D(2, interpolation="nearest", name=f"up{number}")(x)
        x = kl.Add(name=f"up{number}_add")(
            [x, kl.Conv2D(filters, 1, name=f"up{number}_beside")(fine)]
        )
        x = _convolve(x, f"up{number}_joined", filters)
    single, side, count = {"dtype": "float32"}, size_px // STRIDE, len(schema.REGIONS)
    logits = kl.Conv2D(count, 1, name="region_logits", **single)(x)
    logits = kl.Reshape((side * side, count), name=HEATMAPS, **single)(logits)
    flat = kl.Reshape((side * side, x.shape[-1]), name="flat_features", **single)(x)
    centres, features = ExpectedPlaces(side, name="region_places")([logits, flat])
    features = kl.Dense(48, "relu", name="region_dense", **single)(features)
    predictions = kl.EinsumDense(
        "brc,rcd->brd", (count, 3), bias_axes="rd", name="region_sizes", **single
    )(features)
    boxes, scores = SizedBoxes(name="sized_boxes")([centres, predictions])
    outputs = {schema.REGION_BOXES: boxes, schema.REGION_SCORES: scores, HEATMAPS: logits}
    return keras.Model(image, outputs, name=schema.REGION_DETECTOR)


def build_served_detector(trained: keras.Model) -> keras.Model:
    """Returns the network without the heatmaps, which only training needs; weights are shared."""
    names = (schema.REGION_BOXES, schema.REGION_SCORES)
    outputs = {name: trained.output[name] for name in names}
    return keras.Model(trained.input, outputs, name=schema.REGION_DETECTOR)


def load_detector_network(exports_dir: str | Path | None = None) -> keras.Model:
    """Returns the newest exported region detector.

    Args:
        exports_dir: see `catalog.find_network`.

    Returns:
        A model from `image` [B, S, S, 1], 0 to 255, padded to squares, to `region_boxes` and
        `region_scores`, see `build_region_detector`.

    Raises:
        ModelError: there is none, or it cannot be used; the message names the remedy.
    """
    folder = catalog.find_network(schema.REGION_DETECTOR, exports_dir)
    again = f"{program()} --mode=train_region_detector"
    if folder is None:
        raise ModelError(f"no region detector that finds hands; make one with: {again}")
    try:
        return _load_once(folder.absolute(), (folder / schema.KERAS_FILE).stat().st_mtime_ns)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ModelError(
            f"{folder}: not a usable region detector for TensorFlow ({type(error).__name__}: "
            f"{error}); make it again with: {again}"
        ) from None


@functools.cache
def _load_once(folder: Path, modified_ns: int) -> keras.Model:
    """Loads a network once: graphs that contain it do not keep it."""
    del modified_ns  # distinguishes a file from a later file with the same path
    content = json.loads((folder / schema.METADATA_FILE).read_text("utf-8"))
    if content.get("resize") != "pad":
        raise ValueError("it takes images that are stretched to squares")
    trained = keras.saving.load_model(folder / schema.KERAS_FILE, compile=False)
    network = build_served_detector(build_region_detector(content["size_px"]))
    network.set_weights(trained.get_weights())
    return network


def _convolve(x: Tensor, name: str, filters: int, stride: int = 1) -> Tensor:
    x = kl.Conv2D(
        filters,
        3,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = kl.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
    return kl.ReLU(name=f"{name}_relu")(x)


@keras.saving.register_keras_serializable("bone_age_tf")
class ExpectedPlaces(kl.Layer):
    """Computes the expected location under each heatmap's softmax, and the expected features.

    Args:
        side: side of the square map, which was flattened.
    """

    def __init__(self, side: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.side = side

    def call(self, inputs: Tensors) -> Tensors:
        """Maps logits [B, P, R] and features [B, P, C] to [B, R, 2] (y, x) and [B, R, C]."""
        logits, features = inputs
        shares = ops.softmax(ops.transpose(logits, (0, 2, 1)), axis=-1)
        line = (ops.arange(self.side, dtype="float32") + 0.5) / self.side
        y, x = ops.repeat(line, self.side), ops.tile(line, self.side)
        return ops.matmul(shares, ops.stack([y, x], axis=1)), ops.matmul(shares, features)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, _, regions = input_shape[0]
        return (batch, regions, 2), (batch, regions, input_shape[1][-1])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "side": self.side}


@keras.saving.register_keras_serializable("bone_age_tf")
class SizedBoxes(kl.Layer):
    """Computes boxes within the image from centres and predicted sizes."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)

    def call(self, inputs: Tensors) -> Tensors:
        """Maps centres [B, R, 2] and predictions [B, R, 3] to boxes [B, R, 4] and scores [B, R].

        The predictions are the logarithms of height and width relative to `MEAN_SIDES`, and the
        logit of the score.
        """
        centres, predictions = inputs
        sides = ops.exp(ops.clip(predictions[..., :2], -3.0, 2.0)) * ops.convert_to_tensor(
            MEAN_SIDES
        )
        boxes = ops.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
        return ops.clip(boxes, 0.0, 1.0), ops.sigmoid(predictions[..., 2])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, regions, _ = input_shape[0]
        return (batch, regions, 4), (batch, regions)

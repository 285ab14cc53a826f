"""The whole hand and each of its ossification regions, each with an age of its own, fused.

The region detector (`regions.network`, frozen) locates the 17 regions in the image, which shows the
hand in its frame. Square crops of fixed sides around them pass through one trunk with shared
weights; an embedding says which region it is. Each region has a distribution of its own, trained on
the child's age (a weak label), and so has the whole hand. The fused distribution is their weighted
geometric mean (logarithmic opinion pool; Genest & Zidek 1986, doi 10.1214/ss/1177013825). The whole
hand has a fixed share, `whole_share`; the regions share the rest by weights that their features
determine, times the detector's score of each.

The whole hand is read by `efficientnet_lite0`, the regions by its stages up to stride 16. Trained
weights of `efficientnet_lite0` initialise both, since crops have the scale of the image. With
`train_whole` off only the regions and the fusion are trained.

Unlike in PRSNet the parts are anatomical, and their ages are an answer: which bones are ahead of
the hand and which behind.
"""

from typing import Final

import keras
from keras import layers as kl

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError
from bone_age_tf.models import bone_layers, efficientnet_lite, heads, part_losses
from bone_age_tf.models.answer_layers import DistributionQuantiles, ExpectedAge
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.regions.network import (
    build_region_detector,
    build_served_detector,
    load_detector_network,
)
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

CROP_SIDES: Final = {"radius": 0.22, "ulna": 0.2, "wrist": 0.32}
"""Sides of the crops as fractions of the frame."""
JOINT_SIDE: Final = 0.1875
"""Side of the crop of every other region: 48 of 256 px."""
_SIDES: Final = tuple(CROP_SIDES.get(name, JOINT_SIDE) for name in schema.REGIONS)
REGION_STAGES: Final = 5
"""Stages of EfficientNet-Lite0 that read the crops, up to stride 16."""
BONE_PREFIX, GLOBAL_PREFIX, REGION_PREFIX = "bone_", "global_", "region_"


def traits(name: str) -> ModelTraits:
    """Declares the losses of regions, what the fusion needs, and where first weights come from."""
    return ModelTraits(
        own_maps=("regions",),
        training_outputs=(schema.REGION_DISTRIBUTIONS, schema.GLOBAL_DISTRIBUTION),
        imagenet="bone_age_tf.training.efficientnet_weights",
        beside_features=_beside_features,
        add_losses=part_losses.add_region_losses,
        source_layer=source_layer,
        load_frozen=load_detector,
    )


def _beside_features(model: keras.Model) -> list:
    """Returns the regions' distributions, or ages, and their shares, which the fusion takes."""
    names = [layer.name for layer in model.layers]
    fusion = schema.DISTRIBUTION if schema.DISTRIBUTION in names else schema.AGE_MONTHS
    return model.get_layer(fusion).input[1:]


def source_layer(name: str) -> str:
    """Returns the name of the layer of `efficientnet_lite0` that a layer here corresponds to."""
    return name.removeprefix(BONE_PREFIX).removeprefix(GLOBAL_PREFIX)


def load_detector(network: keras.Model) -> None:
    """Loads the weights of the exported region detector.

    Raises:
        ModelError: there is none, or it cannot be used.
    """
    network.get_layer(schema.REGION_DETECTOR).set_weights(load_detector_network().get_weights())


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the whole hand's last of stride 16."""
    return efficientnet_lite.explained_layer(config)


def fine_layer(config: Config) -> str:
    """Returns the layer with the whole hand's last feature map of stride 8."""
    return efficientnet_lite.fine_layer(config)


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds the network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `base_filters`, `region_px`, the side of the crops in pixels,
            `jitter`, `train_whole`, `whole_share`, `drop_whole`, `pixels`. See also
            `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`. In addition, in the order of
        `schema.REGIONS`, `region_ages_months` [B, 17], `region_weights` [B, 17], their shares in
        the answer, `region_crops` [B, 17, 4] and `region_distributions` [B, 17, bins]; and of the
        whole hand alone `global_age_months` [B, 1] and `global_distribution` [B, bins]. A
        regression has no distributions.

    Raises:
        ConfigError: `pixels` is not `unit`. See also `heads.build_head`.
    """
    if config.pixels != "unit":
        raise ConfigError(f"pixels is {config.pixels}; bonewise, which crops grey images, has unit")
    grey = build_photometry(image, config, channels=1)
    colours = kl.Concatenate(name="grey_to_rgb")
    width = config.base_filters
    features = efficientnet_lite.build_features(colours([grey] * 3), width)
    of_whole = heads.build_head(features, sex, config, GLOBAL_PREFIX)
    if not config.train_whole:
        for layer in keras.Model([image, sex], list(of_whole.values())).layers:
            layer.trainable = False

    boxes, scores = _locate(image)
    squares = bone_layers.SquaresAround(_SIDES, config.jitter, name=schema.REGION_CROPS)(boxes)
    crops = bone_layers.CropRegions(config.region_px, name="crop_regions")([grey, squares])
    crops = kl.Concatenate(name="crops_to_rgb")([crops] * 3)
    x = efficientnet_lite.build_stages(crops, width, REGION_STAGES, BONE_PREFIX)
    x = efficientnet_lite.convolve(x, f"{BONE_PREFIX}joined", 8 * width, 1)
    vectors = kl.GlobalAveragePooling2D(name="bone_features")(x)
    vectors = bone_layers.NamedRegions(len(_SIDES), name="region_vectors")(vectors)
    of_regions = heads.build_head(vectors, sex, config, REGION_PREFIX)

    weight = kl.Dense(
        1, "softplus", kernel_initializer="zeros", name="region_weight", dtype="float32"
    )
    weights = kl.Reshape((len(_SIDES),), name="weights_of_regions")(weight(vectors))
    fusion = bone_layers.SharesOfRegions(
        config.whole_share, config.drop_whole, name=schema.REGION_WEIGHTS
    )
    shares = fusion([weights, scores])
    reshape = kl.Reshape((len(_SIDES),), name=schema.REGION_AGES, dtype="float32")
    ages, of_all = reshape(of_regions[schema.AGE_MONTHS]), of_whole[schema.AGE_MONTHS]
    outputs = {
        schema.REGION_CROPS: squares,
        schema.REGION_WEIGHTS: shares,
        schema.REGION_AGES: ages,
        schema.GLOBAL_AGE: of_all,
    }
    if schema.DISTRIBUTION not in of_whole:
        mean = bone_layers.WeightedMean(name=schema.AGE_MONTHS)
        return outputs | {schema.AGE_MONTHS: mean([of_all, ages, shares])}
    of_all, of_each = of_whole[schema.DISTRIBUTION], of_regions[schema.DISTRIBUTION]
    pool = bone_layers.OpinionPool(name=schema.DISTRIBUTION)
    fused, bins = pool([of_all, of_each, shares]), config.bin_months
    return outputs | {
        schema.AGE_MONTHS: ExpectedAge(bins, name=schema.AGE_MONTHS)(fused),
        schema.DISTRIBUTION: fused,
        schema.INTERVAL_90: DistributionQuantiles(bins, name=schema.INTERVAL_90)(fused),
        schema.REGION_DISTRIBUTIONS: of_each,
        schema.GLOBAL_DISTRIBUTION: of_all,
    }


def _locate(image: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the boxes [B, 17, 4], fractions of the image, and scores [B, 17] of the detector.

    The detector sees the hand as in its own training: with a wider border than the frame has.
    """
    detector = build_served_detector(build_region_detector())
    detector.trainable = False
    beyond = (1 - 2 * schema.FRAME_MARGIN) / (1 - 2 * schema.VIEW_BORDER) / 2 - 0.5
    view = bone_layers.WiderView(detector.input_shape[1], beyond, name="detector_view")(image)
    found = detector(view)
    boxes = kl.Rescaling(1 + 2 * beyond, offset=-beyond, name="boxes_in_frame", dtype="float32")
    return boxes(found[schema.REGION_BOXES]), found[schema.REGION_SCORES]

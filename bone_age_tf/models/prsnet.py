"""Part relation and selection network (PRSNet; Ji et al. 2019, arXiv 1909.05651).

From the paper: a part relation module models which parts of the hand occur together, with
multi-scale context. A part selection module ranks anchors of several sizes and scales by scores,
which learn the order of the parts' confidences. The features of the best parts are concatenated
with those of the whole image. The network is trained end to end, without labels of parts.

From NTS-Net (Yang et al. 2018, arXiv 1809.00287), which introduced the ranked selection of parts:
the best parts are selected by suppression at an overlap of 0.25. Each part is cropped from the
image, resized and passed through the same convolutions, and its features are joined to those of the
whole image. A part's confidence is the negative of its loss, and the ranking loss is a hinge on
each pair. The sides of anchors are based on its 48, 96 and 192 of 448 px and its scales, as
fractions of the image.

Deviations:

- Each part type has scores for all anchors, and its box is their weighted mean
  (`part_layers.PartBoxes`). The order of the parts is thereby meaningful, boxes can be between
  anchors, and the loss of a part's prediction trains the location of its box.
- In training, a rotated, zoomed and shifted copy of each image must have its boxes in the same
  places of the hand (`training.second_view`), so that boxes represent parts and do not encode the
  age.
- Anchors are square and partly smaller than NTS-Net's. Overlap is relative to the smaller box.
- The features of a part that is not selected are 0.
- Relations are computed by `part_layers.PartRelation`.
- The backbone consists of basic residual blocks, and its last stage keeps stride 16. Proposals are
  computed from its map and the map of stride 8 together. For 128 px there are 16 x 16 places for
  the smallest anchors, 8 x 8 and 4 x 4 for the others.
- Crops have separate batch norms.
- Parts and whole image have the same type of head with the same loss, and the sex encoding before
  each of the three heads.
"""

from typing import Any

import keras
from keras import layers as kl

from bone_age_tf import schema
from bone_age_tf.models import heads, part_layers, part_losses
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.resnet import BasicResidualNetwork
from bone_age_tf.models.traits import ModelTraits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor

BLOCKS = (2, 2, 2, 2)
STRIDES = (2, 2, 2, 1)
PROPOSAL_FILTERS = 64
EXPLAINED = "related_features"
SIDES = (
    tuple(48 / 448 * 2 ** (k / 3) for k in (-2, -1, 0, 1, 2)),
    tuple(96 / 448 * 2 ** (k / 3) for k in (1, 2)),
    tuple(192 / 448 * 2 ** (k / 3) for k in (0, 1, 2)),
)
"""Sides of the anchors on each of the three grids, as fractions of the image's side: NTS-Net's, and
three smaller ones."""
MAX_OVERLAP = 0.25
PART_PREFIX = "part_"
GLOBAL_PREFIX = "global_"


JOINED = "whole_and_parts"
"""Name of the layer that concatenates the features of the parts and of the whole image."""


def traits(name: str) -> ModelTraits:
    """Declares the losses of parts, outputs for the loss only, and additional explanations."""
    return ModelTraits(
        explanations=("relation", "vanilla_gradients", "path_cam"),
        own_maps=("relation", "parts"),
        training_outputs=(schema.PART_RANKING,),
        beside_features=lambda model: model.get_layer(JOINED).input[1:],
        add_losses=part_losses.add_losses,
        part_weights=part_losses.part_weights,
    )


def explained_layer(config: Config) -> str:
    """Returns the layer whose feature map Grad-CAM uses: the whole image's, with relations."""
    return EXPLAINED


def fine_layer(config: Config) -> str:
    """Returns the layer with the last feature map of stride 8 of the whole image."""
    return "conv3_block2_out"


def build_network(image: Tensor, sex: Tensor, config: Config) -> dict:
    """Builds the network from Keras tensors to Keras tensors.

    Args:
        image: [B, H, W, 1], 0 to 255; H and W at least 32.
        sex: [B, 1], 0 female, 1 male.
        config: the model's config; `base_filters`, `parts`, `used_parts`, `part_size_px`,
            `relation`, `selection`. See also `heads.build_head`.

    Returns:
        Keras tensors by output name, see `schema.OUTPUTS`. In addition to the outputs of the head:
        `relation_map` [B, H / 16, W / 16] with a sum of 1; `part_boxes` [B, K, 4], ymin, xmin,
        ymax, xmax as fractions, for each part type; `part_scores` [B, K]; `part_kept` [B, K], 1 for
        selected parts; `part_ages_months` [B, K] and `part_distributions` [B, K, bins];
        `global_age_months` [B, 1] and `global_distribution` [B, bins]; and for the loss
        `part_ranking` [B, K, 1 + bins], or [B, K, 2] from a regression.
    """
    grey = build_photometry(image, config, channels=1)
    backbone = BasicResidualNetwork(config.base_filters, BLOCKS, STRIDES, pooled=False)
    _, fine, _, coarse = backbone(grey)
    outputs = {}
    if config.relation:
        relation = part_layers.PartRelation(max(8, coarse.shape[-1] // 4), name="part_relation")
        coarse, outputs[schema.RELATION_MAP] = relation(coarse)
    coarse = kl.Identity(name=EXPLAINED)(coarse)
    whole = kl.GlobalAveragePooling2D(name="image_features")(coarse)
    if not config.selection:
        return heads.build_head(whole, sex, config) | outputs

    scores, boxes = _propose(fine, coarse, config)
    keep = part_layers.KeepParts(config.used_parts, MAX_OVERLAP, name=schema.PART_KEPT)
    outputs[schema.PART_KEPT] = kept = keep([scores, boxes])
    outputs |= read_parts(grey, whole, boxes, kept, sex, backbone, config)
    predictions = outputs.get(schema.PART_DISTRIBUTIONS, outputs[schema.PART_AGES])
    outputs[schema.PART_SCORES] = scores
    outputs[schema.PART_RANKING] = _beside(scores, predictions)
    return outputs


def read_parts(
    grey: Tensor,
    whole: Tensor,
    boxes: Tensor,
    kept: Tensor,
    sex: Tensor,
    backbone: Any,
    config: Config,
) -> dict:
    """Predicts ages from the parts in boxes and from the whole image.

    Args:
        grey: [B, H, W, 1], the images.
        whole: [B, C], features of the whole images.
        boxes: [B, K, 4], ymin, xmin, ymax, xmax as fractions.
        kept: [B, K], 1 for selected parts, 0 for others.
        sex: [B, 1].
        backbone: computes the feature maps of the crops, with the weights used for `whole`.
        config: as in `build_network`.

    Returns:
        The outputs of `build_network` without scores, selection, ranking and relations.
    """
    crops = part_layers.CropParts(config.part_size_px, name="crop_parts")([grey, boxes])
    vectors = kl.GlobalAveragePooling2D(name="crop_features")(backbone(crops, PART_PREFIX)[-1])
    vectors = part_layers.GroupParts(config.parts, name="part_vectors")(vectors)
    of_parts = heads.build_head(vectors, sex, config, PART_PREFIX)
    of_whole = heads.build_head(whole, sex, config, GLOBAL_PREFIX)
    ages = kl.Reshape((config.parts,), name=schema.PART_AGES, dtype="float32")(
        of_parts[schema.AGE_MONTHS]
    )
    outputs = {
        schema.PART_BOXES: boxes,
        schema.PART_AGES: ages,
        schema.GLOBAL_AGE: of_whole[schema.AGE_MONTHS],
    }
    if schema.DISTRIBUTION in of_parts:
        outputs[schema.PART_DISTRIBUTIONS] = of_parts[schema.DISTRIBUTION]
        outputs[schema.GLOBAL_DISTRIBUTION] = of_whole[schema.DISTRIBUTION]
    column = kl.Reshape((config.parts, 1), name="part_kept_column")(kept)
    used = kl.Multiply(name="kept_parts")([vectors, column])
    used = kl.Flatten(name="kept_part_features")(used)
    features = kl.Concatenate(name=JOINED)([whole, used])
    return heads.build_head(features, sex, config) | outputs


def _propose(fine: Tensor, coarse: Tensor, config: Config) -> Tensor:
    """Returns scores [B, K] and boxes [B, K, 4] of the part types."""
    x = part_layers.JoinMaps(name="proposal_maps")([fine, coarse])
    scores, anchors = [], []
    for grid, sides in enumerate(SIDES, start=1):
        x = kl.Conv2D(
            PROPOSAL_FILTERS,
            3,
            1 if grid == 1 else 2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"proposal_{grid}",
        )(x)
        score = kl.Conv2D(
            len(sides) * config.parts,
            1,
            # Initially only the location of a part type determines its box.
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            name=f"proposal_{grid}_scores",
            dtype="float32",
        )(x)
        anchors.append(part_layers.Anchors(sides, (1.0,), name=f"anchors_{grid}")(score))
        scores.append(kl.Reshape((-1, config.parts), name=f"proposal_{grid}_list")(score))
    scores = kl.Concatenate(axis=1, name="anchor_scores", dtype="float32")(scores)
    anchors = kl.Concatenate(axis=1, name="anchor_boxes", dtype="float32")(anchors)
    return part_layers.PartBoxes(name=schema.PART_BOXES)([scores, anchors])


def _beside(scores: Tensor, predictions: Tensor) -> Tensor:
    """Concatenates scores [B, K] and predictions [B, K, C] or [B, K] to [B, K, 1 + C]."""
    if len(predictions.shape) == 2:
        predictions = kl.Reshape(
            (predictions.shape[1], 1), name="part_ages_column", dtype="float32"
        )(predictions)
    column = kl.Reshape((scores.shape[1], 1), name="part_scores_column", dtype="float32")(scores)
    return kl.Concatenate(name=schema.PART_RANKING, dtype="float32")([column, predictions])

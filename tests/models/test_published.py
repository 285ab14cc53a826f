"""The published networks, at their published width and depth."""

import functools
import re

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.models.build import build_model, model_module

PUBLISHED = {
    "efficientnet_lite0": 3_371_008,  # trained ones, without the top
    "resnet18": 11_176_512,  # trained ones; other implementations, without the top
    "resnet34": 21_284_672,
    "resnet50": 23_587_712,  # all; Keras, without the top
    "resnet101": 42_658_176,
    "resnet152": 58_370_944,
    "vgg16": 14_714_688,
}


TRAINED_ALONE = ("efficientnet_lite0", "resnet18", "resnet34")


@pytest.fixture(scope="module", autouse=True)
def forget_models():
    """Gives the memory of the networks back when the tests of this file are done."""
    yield
    as_published.cache_clear()


@functools.cache
def as_published(name):
    """The model at its published width, for images of 48 px, and its config."""
    config = configs.load_config(name, "hand_phantom")
    if name == "vgg16":
        config.batch_norm = False
    return build_model(config, 48), config


def shapes_of(model):
    """The shapes of the weights of each layer that has some, by the layer's name."""
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in model.layers
        if layer.weights
    }


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_backbones_have_their_published_parameters(name):
    model, config = as_published(name)
    head = ("sex_embedding", "head_dense", "age_logits")
    weights = [
        weight
        for layer in model.layers
        if layer.name not in head
        for weight in (layer.trainable_weights if name in TRAINED_ALONE else layer.weights)
    ]
    assert sum(int(np.prod(weight.shape)) for weight in weights) == PUBLISHED[name]
    assert model.get_layer(model_module(name).explained_layer(config)).output.shape[1] >= 3


@pytest.mark.parametrize(
    ("name", "published"),
    [("resnet50", keras.applications.ResNet50), ("vgg16", keras.applications.VGG16)],
)
def test_layers_have_the_names_and_shapes_of_published_weights(name, published):
    theirs = shapes_of(published(include_top=False, weights=None, input_shape=(64, 64, 3)))
    assert theirs.items() <= shapes_of(as_published(name)[0]).items()


@pytest.mark.parametrize(
    ("name", "like", "blocks"),
    [
        ("resnet34", "resnet18", (3, 4, 6, 3)),
        ("resnet101", "resnet50", (3, 4, 23, 3)),
        ("resnet152", "resnet50", (3, 8, 36, 3)),
    ],
)
def test_deeper_networks_repeat_the_second_block_of_each_stage(name, like, blocks):
    """Table 1 of He et al. 2015; names and shapes are those of Keras' published weights."""
    expected = {}
    for layer, shapes in shapes_of(as_published(like)[0]).items():
        found = re.fullmatch(r"conv(\d)_block(\d+)_(.*)", layer)
        if found is None or found[2] == "1":
            expected[layer] = shapes
        elif found[2] == "2":
            for block in range(2, blocks[int(found[1]) - 2] + 1):
                expected[f"conv{found[1]}_block{block}_{found[3]}"] = shapes
    assert shapes_of(as_published(name)[0]) == expected

"""Augmentation as Keras layers, which run on the accelerator as a part of the training graph.

`bone_age_tf.training.augmented` adds the layers in front of the network for training steps only.
They are not used in tf.data pipelines, in evaluation or in exports.
"""

import math

import keras

from bone_age_tf.data import augmentation_layers as film_layers
from bone_age_tf.errors import ConfigError
from bone_age_tf.settings import Augmentation
from bone_age_tf.tensors import Tensor

POLICIES = ("none", "standard", "strong", "films")
_PIXELS = (0.0, 255.0)


def build_augmentation(config: Augmentation, seed: int) -> keras.Sequential | None:
    """Builds the augmentation layers of a policy.

    `standard` flips, rotates, shifts and zooms images and changes contrast and brightness with
    Keras' layers. `strong` additionally applies two random operations of a KerasCV set to each
    image: shear, sharpness, blur, cut-out, equalisation. `films` transforms each image in one
    interpolation, adds marks to some, changes tone, sharpness and noise, and covers a part of some.

    Args:
        config: the `augmentation` part of a config.
        seed: seed of every random choice.

    Returns:
        A model from images [B, H, W, 1] float32, 0 to 255, to such images; None for the policy
        `none`.

    Raises:
        ConfigError: the policy is unknown, or `grey_match` is out of range or is set with `none`.
    """
    _check_share("grey_match", config.grey_match)
    if config.policy not in POLICIES:
        raise ConfigError(f"augmentation.policy is {config.policy!r}; known: {', '.join(POLICIES)}")
    if config.policy == "none":
        if config.grey_match:
            raise ConfigError(
                f"augmentation.grey_match={config.grey_match} has no effect with "
                "augmentation.policy=none; choose another policy"
            )
        return None
    layers = (
        _film_layers(config, seed) if config.policy == "films" else _standard_layers(config, seed)
    )
    if config.grey_match:
        layers.insert(0, film_layers.RandomGreys(config.grey_match, seed=seed + 12))
    if config.policy == "strong":
        layers.append(_keras_cv_layer(config, seed))
    layers.append(keras.layers.Lambda(_clip, name="clip_to_pixels"))
    if keras.backend.backend() == "jax":
        for (
            layer
        ) in layers:  # Keras' layers declare that they cannot be compiled; with JAX they can
            layer.supports_jit = True
    return keras.Sequential(layers, name="augmentation")


def build_mixing(config: Augmentation, seed: int) -> keras.layers.Layer | None:
    """Builds the layer that mixes images of a batch and, with MixUp, their ages.

    Args:
        config: the `augmentation` part of a config.
        seed: seed of every random choice.

    Returns:
        A layer from images [B, H, W, 1], sexes [B, 1] and ages [B, 1] to images and ages; None if
        images are not mixed.

    Raises:
        ConfigError: both `pairing` and `mixup` are set, or one of them is out of range.
    """
    _check_share("pairing", config.pairing)
    if config.mixup < 0:
        raise ConfigError(f"augmentation.mixup={config.mixup}: 0 for none, or more, such as 0.2")
    if config.pairing and config.mixup:
        raise ConfigError(
            f"augmentation.pairing={config.pairing} and augmentation.mixup={config.mixup}: "
            "one of the two can mix images, the other must be 0"
        )
    if config.pairing:
        return film_layers.RandomPairing(config.pairing, config.pairing_months, seed=seed + 11)
    return film_layers.RandomMixUp(config.mixup, seed=seed + 11) if config.mixup else None


def _check_share(key: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"augmentation.{key}={value}: a share from 0 to 1 is needed")


def _clip(image: Tensor) -> Tensor:
    return keras.ops.clip(image, *_PIXELS)


def _standard_layers(config: Augmentation, seed: int) -> list[keras.layers.Layer]:
    black = {"fill_mode": "constant", "fill_value": 0.0}
    shift, zoom = config.shift_fraction, config.zoom_fraction
    degrees = config.rotation_degrees / 360
    candidates = [
        (config.flip, lambda: keras.layers.RandomFlip("horizontal", seed=seed)),
        (degrees, lambda: keras.layers.RandomRotation(degrees, seed=seed + 1, **black)),
        (shift, lambda: keras.layers.RandomTranslation(shift, shift, seed=seed + 2, **black)),
        (zoom, lambda: keras.layers.RandomZoom(zoom, seed=seed + 3, **black)),
        (
            config.contrast,
            lambda: keras.layers.RandomContrast(
                config.contrast, value_range=_PIXELS, seed=seed + 4
            ),
        ),
        (
            config.brightness,
            lambda: keras.layers.RandomBrightness(
                config.brightness, value_range=_PIXELS, seed=seed + 5
            ),
        ),
    ]
    return [make() for strength, make in candidates if strength]


def _film_layers(config: Augmentation, seed: int) -> list[keras.layers.Layer]:
    return [
        film_layers.RandomPose(
            degrees=config.rotation_degrees,
            zoom=config.zoom_fraction,
            shrink=config.shrink_fraction or None,
            aspect=config.aspect_fraction,
            shear=config.shear,
            shift=config.shift_fraction,
            flip=config.flip,
            seed=seed,
        ),
        *([film_layers.RandomMarks(config.marks, seed=seed + 3)] if config.marks else []),
        film_layers.RandomExposure(
            config.tone,
            config.sharpness,
            config.crush,
            config.grain,
            config.levels,
            seed=seed + 1,
        ),
        film_layers.RandomCover(config.cover, seed=seed + 2),
    ]


def _keras_cv_layer(config: Augmentation, seed: int) -> keras.layers.Layer:
    import keras_cv  # imported only for this policy, since the import is slow

    cv = keras_cv.layers
    magnitude = config.magnitude
    return cv.RandomAugmentationPipeline(
        [
            cv.RandomShear(x_factor=0.2 * magnitude, y_factor=0.2 * magnitude, seed=seed + 6),
            cv.RandomGaussianBlur(
                kernel_size=3, factor=(0.0, max(0.1, 2 * magnitude)), seed=seed + 7
            ),
            cv.RandomCutout(0.4 * magnitude, 0.4 * magnitude, seed=seed + 8),
            cv.RandomSharpness(factor=magnitude, value_range=_PIXELS, seed=seed + 9),
            cv.AutoContrast(value_range=_PIXELS),
        ],
        augmentations_per_image=2,
        rate=min(1.0, math.sqrt(magnitude)),
        seed=seed + 10,
    )

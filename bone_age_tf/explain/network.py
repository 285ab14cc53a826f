"""A trained network in the forms that explanations need: one input, one sex, one answer."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from bone_age_tf import schema
from bone_age_tf.models import layers
from bone_age_tf.models.build import build_model, build_single_input_model, model_module
from bone_age_tf.models.removal import build_removal_model, pooled_map
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Shape, Tensor

_SURE = 1e-6


class ExplainedNetwork:
    """A trained network whose answers are to be explained.

    Explanations see the image behind the percentile stretch, as 0 to 255: that is what the layers
    behind it see, and dark pixels are a baseline there. In front of it they are not, since a film
    at half the exposure is stretched to the same image.

    Attributes:
        config: the resolved config.
        size_px: side of the images.
        whole: from the stretched image and the sex to all outputs.
    """

    def __init__(self, trained: keras.Model, config: Config):
        """Takes a network.

        Args:
            trained: made by `build_model` of this config.
            config: the resolved config.
        """
        self.config, self.size_px = config, int(config.image_size_px)
        self._trained = trained
        whole = build_model(config, self.size_px)
        whole.set_weights(trained.get_weights())
        self.whole = _behind_the_stretch(whole)
        self._stretch = tf.function(whole.get_layer("percentile_stretch").call, autograph=False)

    def stretched(self, images: np.ndarray) -> np.ndarray:
        """Returns images [B, S, S, 1], 0 to 255, as the network sees them, 0 to 255."""
        return 255.0 * self._stretch(as_tensor(images)).numpy()

    def of_sex(self, sex: int) -> "OneInputNetwork":
        """Returns the network of one input, set to girls (0) or boys (1)."""
        self._one_input.sex.assign([[float(sex)]])
        return self._one_input

    @functools.cached_property
    def _one_input(self) -> "OneInputNetwork":
        return OneInputNetwork(self, self._trained)

    def months(self, images: np.ndarray, sexes: np.ndarray) -> np.ndarray:
        """Returns ages [B] of stretched images [B, S, S, 1] and sexes [B]."""
        return self._answer(as_tensor(images), as_tensor(sexes[:, None]))[
            schema.AGE_MONTHS
        ].numpy()[:, 0]

    def own_outputs(self, images: np.ndarray, sex: int) -> dict[str, np.ndarray]:
        """Returns all outputs of the network for stretched images of one sex."""
        sexes = np.full((len(images), 1), sex)
        found = self._answer(as_tensor(images), as_tensor(sexes))
        return {name: value.numpy() for name, value in found.items()}

    @functools.cached_property
    def _answer(self) -> Callable:
        return tf.function(
            lambda image, sex: self.whole({schema.IMAGE: image, schema.SEX: sex}, training=False),
            autograph=False,
        )

    @functools.cached_property
    def removal(self) -> keras.Model:
        """What becomes of the answer without each place, see `build_removal_model`."""
        return build_removal_model(self.whole)

    def randomised(
        self, seed: int, share: float = 1.0, images: np.ndarray | None = None
    ) -> "ExplainedNetwork":
        """Returns the same network with new weights, for the sanity check of Adebayo et al. 2018.

        Args:
            seed: of the weights.
            share: of the layers with weights, counted from the answer to the image, that lose what
                they have learned (cascading randomisation).
            images: [B, S, S, 1] float32, plain pixels, on which the batch norms that lose what they
                have learned measure the new features. Without, hardly anything of the image
                reaches the last layers of a deep network of new weights, and no map that is made
                there could resemble another.
        """
        keras.utils.set_random_seed(seed)
        other = build_model(self.config, self.size_px)
        learned = [layer for layer in other.layers if layer.weights]
        for layer in learned[: round((1 - share) * len(learned))]:
            layer.set_weights(self._trained.get_layer(layer.name).get_weights())
        if images is not None:
            _measure_batch_norms(other, learned[round((1 - share) * len(learned)) :], images)
        return ExplainedNetwork(other, self.config)


class OneInputNetwork:
    """Models of the stretched image [B, S, S, 1], 0 to 255, alone.

    Attributes:
        sex: [1, 1], a variable, so that both sexes share what is compiled.
        map_layer: the feature map that Grad-CAM looks at.
        fine_layer: the last feature map of stride 8 or less, as fine as a bone.
        older: to [B, 2], logits of the age's share of all possible ages and of the rest. So every
            head has two classes, older and younger, and a cross-entropy has a gradient.
        shares: the same as probabilities.
        months: to the age [B, 1].
        best_logit: to [B, 1], the logit of the most probable age bin; of older in a regression.
        activations: what tf-explain makes of `map_layer`; None until it is asked.
    """

    def __init__(self, network: ExplainedNetwork, trained: keras.Model):
        config = network.config
        single = build_single_input_model(trained, config, network.size_px, schema.FEMALE)
        flat = _behind_the_stretch(single)
        found = [layer.sex for layer in flat.layers if isinstance(layer, _VariableSex)]
        # Where the sex is off, no layer asks for it.
        self.sex = found[0] if found else keras.Variable([[0.0]], trainable=False)
        module = model_module(config.model)
        self.map_layer = module.explained_layer(config)
        self.fine_layer = getattr(module, "fine_layer", module.explained_layer)(config)
        image, age = flat.inputs[0], flat.outputs[0]
        share = keras.layers.Rescaling(
            1 / schema.MAX_AGE_MONTHS, name="share_of_ages", dtype="float32"
        )(age)
        logits = _TwoLogits(name="older_and_younger", dtype="float32")(share)
        shares = keras.layers.Softmax(name="shares", dtype="float32")(logits)
        self.months = flat
        self.older = keras.Model(image, logits, name="older")
        self.shares = keras.Model(image, shares, name="shares")
        self.best_logit = self.older
        if any(layer.name == "age_logits" for layer in flat.layers):
            # The largest, so that one pass finds the bin and its gradient.
            best = _Largest(name="best_logit", dtype="float32")(flat.get_layer("age_logits").output)
            self.best_logit = keras.Model(image, best, name="best_logit")
        self.activations: keras.Model | None = None
        self._pooled = pooled_map(flat)
        self._compiled: dict[str, Callable] = {}

    def with_map(self, layer: str | None) -> keras.Model:
        """Returns a model to a feature map and the age; None: the map that is pooled last."""
        found = self._pooled if layer is None else self.months.get_layer(layer).output
        return keras.Model(self.months.inputs, [found, self.months.outputs[0]])

    def behind(self, layer: str) -> keras.Model:
        """Returns a model from a feature map, and the image for paths beside it, to the age."""
        features = self.months.get_layer(layer).output
        return keras.Model([features, *self.months.inputs], self.months.outputs[0])

    def run(self, name: str, call: Callable, images: np.ndarray, *others: Any) -> np.ndarray:
        """Runs a function of tensors as a graph, which is kept under its name.

        Args:
            name: of the function.
            call: takes images and `others` as tensors and returns one.
            images: [B, S, S, 1].
            *others: numbers or arrays.
        """
        if name not in self._compiled:
            self._compiled[name] = tf.function(call, autograph=False)
        return self._compiled[name](as_tensor(images), *map(tf.constant, others)).numpy()


def _measure_batch_norms(
    model: keras.Model, measuring: list[keras.Layer], images: np.ndarray
) -> None:
    """Gives batch norms the statistics of these images; the others keep theirs."""
    norms = [one for one in model.layers if isinstance(one, keras.layers.BatchNormalization)]
    momenta = [one.momentum for one in norms]
    for one in norms:
        one.momentum = 0.0 if one in measuring else 1.0
    model({schema.IMAGE: images, schema.SEX: np.zeros((len(images), 1), "float32")}, training=True)
    for one, momentum in zip(norms, momenta, strict=True):
        one.momentum = momentum


def _behind_the_stretch(model: keras.Model) -> keras.Model:
    """Returns a copy that takes the stretched image, 0 to 255."""

    def copy(layer: Any) -> Any:
        if isinstance(layer, layers.PercentileStretch):
            return keras.layers.Rescaling(1 / 255, name=layer.name, dtype="float32")
        if isinstance(layer, layers.ConstantSex):
            return _VariableSex(name=layer.name, dtype="float32")
        return layer.__class__.from_config(layer.get_config())

    found = keras.models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        if layer.weights:
            found.get_layer(layer.name).set_weights(layer.get_weights())
    return found


class _VariableSex(keras.layers.Layer):
    """Gives every image of a batch the sex that its variable says."""

    def build(self, input_shape: Shape) -> None:
        self.sex = self.add_weight((1, 1), "zeros", trainable=False, name="sex")

    def call(self, image: Tensor) -> Tensor:
        return keras.ops.zeros_like(image[:, 0, 0, :]) + self.sex

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1)


class _Largest(keras.layers.Layer):
    """From logits [B, K] to the largest [B, 1]."""

    def call(self, logits: Tensor) -> Tensor:
        return keras.ops.max(logits, axis=1, keepdims=True)


class _TwoLogits(keras.layers.Layer):
    """From a share [B, 1] to logits [B, 2] whose softmax is the share and the rest."""

    def call(self, share: Tensor) -> Tensor:
        sure = keras.ops.clip(share, _SURE, 1 - _SURE)
        half = 0.5 * (keras.ops.log(sure) - keras.ops.log(1 - sure))
        return keras.ops.concatenate([half, -half], axis=1)


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Returns numbers as TensorFlow takes them, float32."""
    return tf.convert_to_tensor(images, tf.float32)

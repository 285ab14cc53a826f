"""Provides a trained network with a single input and output, as explanation methods require."""

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
    """A trained network whose predictions are explained.

    Explanations refer to the image behind the percentile stretch, scaled to 0 to 255. There, a
    black pixel is a meaningful baseline. In front of the stretch it is not, since a radiograph at
    half the exposure is stretched to the same image.

    Attributes:
        config: the resolved config.
        size_px: side of the images in pixels.
        whole: model from the stretched image and the sex to all outputs.
    """

    def __init__(self, trained: keras.Model, config: Config):
        """Prepares a network.

        Args:
            trained: a trained model that `build_model` built from this config.
            config: the resolved config.
        """
        self.config, self.size_px = config, int(config.image_size_px)
        self._trained = trained
        whole = build_model(config, self.size_px)
        whole.set_weights(trained.get_weights())
        self.whole = _behind_the_stretch(whole)
        self._stretch = tf.function(whole.get_layer("percentile_stretch").call, autograph=False)

    def stretched(self, images: np.ndarray) -> np.ndarray:
        """Returns images [B, S, S, 1] after the percentile stretch; both are 0 to 255."""
        return 255.0 * self._stretch(as_tensor(images)).numpy()

    def of_sex(self, sex: int) -> "OneInputNetwork":
        """Returns the network with the image as its only input, for female (0) or male (1)."""
        self._one_input.sex.assign([[float(sex)]])
        return self._one_input

    @functools.cached_property
    def _one_input(self) -> "OneInputNetwork":
        return OneInputNetwork(self, self._trained)

    def months(self, images: np.ndarray, sexes: np.ndarray) -> np.ndarray:
        """Returns predicted ages [B] in months for stretched images [B, S, S, 1] and sexes [B]."""
        return self._predict(as_tensor(images), as_tensor(sexes[:, None]))[
            schema.AGE_MONTHS
        ].numpy()[:, 0]

    def own_outputs(self, images: np.ndarray, sex: int) -> dict[str, np.ndarray]:
        """Returns all outputs of the network for stretched images of one sex."""
        sexes = np.full((len(images), 1), sex)
        outputs = self._predict(as_tensor(images), as_tensor(sexes))
        return {name: value.numpy() for name, value in outputs.items()}

    @functools.cached_property
    def _predict(self) -> Callable:
        return tf.function(
            lambda image, sex: self.whole({schema.IMAGE: image, schema.SEX: sex}, training=False),
            autograph=False,
        )

    @functools.cached_property
    def removal(self) -> keras.Model:
        """Model of the predictions without each place, see `build_removal_model`."""
        return build_removal_model(self.whole)

    def randomised(
        self, seed: int, share: float = 1.0, images: np.ndarray | None = None
    ) -> "ExplainedNetwork":
        """Returns the same network with new weights, for the sanity check of Adebayo et al. 2018.

        Args:
            seed: seed of the weights.
            share: share of the layers with weights that are randomised, counted from the output
                (cascading randomisation).
            images: [B, S, S, 1] float32, pixels before the stretch, from which the randomised batch
                norms compute their statistics. Without them, hardly any signal reaches the last
                layers of a deep random network, and no map computed there could resemble another.
        """
        keras.utils.set_random_seed(seed)
        randomised = build_model(self.config, self.size_px)
        learned = [layer for layer in randomised.layers if layer.weights]
        for layer in learned[: round((1 - share) * len(learned))]:
            layer.set_weights(self._trained.get_layer(layer.name).get_weights())
        if images is not None:
            _measure_batch_norms(randomised, learned[round((1 - share) * len(learned)) :], images)
        return ExplainedNetwork(randomised, self.config)


class OneInputNetwork:
    """Models whose only input is the stretched image [B, S, S, 1], 0 to 255.

    Attributes:
        sex: [1, 1] variable, so that both sexes share compiled functions.
        map_layer: name of the layer whose feature map Grad-CAM uses.
        fine_layer: name of the layer with the last feature map of stride 8 or less.
        older: model to [B, 2], logits of the classes older and younger: of the age as a share of
            the range of ages, and of the rest. With two classes a cross-entropy has a gradient.
        shares: model to [B, 2], the same as probabilities.
        months: model to the age [B, 1] in months.
        best_logit: model to [B, 1], the logit of the most probable age bin; `older` in a
            regression.
        activations: tf-explain's model to the output of `map_layer`; None until it is built.
    """

    def __init__(self, network: ExplainedNetwork, trained: keras.Model):
        config = network.config
        single = build_single_input_model(trained, config, network.size_px, schema.FEMALE)
        flat = _behind_the_stretch(single)
        sexes = [layer.sex for layer in flat.layers if isinstance(layer, _VariableSex)]
        # Without a sex encoding no layer uses the sex.
        self.sex = sexes[0] if sexes else keras.Variable([[0.0]], trainable=False)
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
            # The maximum is part of the model, so that one pass gives the bin and its gradient.
            best = _Largest(name="best_logit", dtype="float32")(flat.get_layer("age_logits").output)
            self.best_logit = keras.Model(image, best, name="best_logit")
        self.activations: keras.Model | None = None
        self._pooled = pooled_map(flat)
        self._compiled: dict[str, Callable] = {}

    def with_map(self, layer: str | None) -> keras.Model:
        """Returns a model to a feature map and the age; None selects the map pooled last."""
        features = self._pooled if layer is None else self.months.get_layer(layer).output
        return keras.Model(self.months.inputs, [features, self.months.outputs[0]])

    def behind(self, layer: str) -> keras.Model:
        """Returns a model from a feature map and the image (for parallel paths) to the age."""
        features = self.months.get_layer(layer).output
        return keras.Model([features, *self.months.inputs], self.months.outputs[0])

    def run(self, name: str, call: Callable, images: np.ndarray, *others: Any) -> np.ndarray:
        """Runs a function of tensors as a graph; the graph is cached under its name.

        Args:
            name: name of the function.
            call: function of the images and `others`, all tensors, that returns a tensor.
            images: [B, S, S, 1].
            *others: further arguments, numbers or arrays.
        """
        if name not in self._compiled:
            self._compiled[name] = tf.function(call, autograph=False)
        return self._compiled[name](as_tensor(images), *map(tf.constant, others)).numpy()


def _measure_batch_norms(
    model: keras.Model, measuring: list[keras.Layer], images: np.ndarray
) -> None:
    """Sets the statistics of some batch norms to those of the images; the others keep theirs."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0 if norm in measuring else 1.0
    model({schema.IMAGE: images, schema.SEX: np.zeros((len(images), 1), "float32")}, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _behind_the_stretch(model: keras.Model) -> keras.Model:
    """Returns a copy of the model whose input is the stretched image, 0 to 255."""

    def copy(layer: Any) -> Any:
        if isinstance(layer, layers.PercentileStretch):
            return keras.layers.Rescaling(1 / 255, name=layer.name, dtype="float32")
        if isinstance(layer, layers.ConstantSex):
            return _VariableSex(name=layer.name, dtype="float32")
        return layer.__class__.from_config(layer.get_config())

    clone = keras.models.clone_model(model, clone_function=copy)
    for layer in model.layers:
        if layer.weights:
            clone.get_layer(layer.name).set_weights(layer.get_weights())
    return clone


class _VariableSex(keras.layers.Layer):
    """Outputs the sex of its variable for every image of a batch."""

    def build(self, input_shape: Shape) -> None:
        self.sex = self.add_weight((1, 1), "zeros", trainable=False, name="sex")

    def call(self, image: Tensor) -> Tensor:
        return keras.ops.zeros_like(image[:, 0, 0, :]) + self.sex

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1)


class _Largest(keras.layers.Layer):
    """Maps logits [B, K] to the largest logit [B, 1]."""

    def call(self, logits: Tensor) -> Tensor:
        return keras.ops.max(logits, axis=1, keepdims=True)


class _TwoLogits(keras.layers.Layer):
    """Maps a share [B, 1] to logits [B, 2] whose softmax is the share and the rest."""

    def call(self, share: Tensor) -> Tensor:
        sure = keras.ops.clip(share, _SURE, 1 - _SURE)
        half = 0.5 * (keras.ops.log(sure) - keras.ops.log(1 - sure))
        return keras.ops.concatenate([half, -half], axis=1)


def as_tensor(images: np.ndarray) -> tf.Tensor:
    """Converts an array to a float32 tensor."""
    return tf.convert_to_tensor(images, tf.float32)

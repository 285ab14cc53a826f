"""Keras layers of the outputs: ages, intervals and the distance from the training images.

Pure Keras, any backend, convertible to LiteRT built-ins.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

from bone_age_tf.tensors import Shape, Tensor, Tensors


@keras.saving.register_keras_serializable("bone_age_tf")
class ExpectedAge(keras.layers.Layer):
    """Mean of a distribution over age bins.

    Args:
        bin_months: width of a bin; the first begins at 0 months.
    """

    def __init__(self, bin_months: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.bin_months = bin_months

    def call(self, distribution: Tensor) -> Tensor:
        """Maps probabilities [B, ..., K] to months [B, ..., 1]."""
        bins = ops.arange(distribution.shape[-1], dtype="float32")
        return ops.sum(distribution * (bins + 0.5) * self.bin_months, axis=-1, keepdims=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "bin_months": self.bin_months}


@keras.saving.register_keras_serializable("bone_age_tf")
class ConformalInterval(keras.layers.Layer):
    """Conformal prediction interval that depends on sex and age.

    See `bone_age_tf.evaluation.interval`, which fits the factors and computes the same in NumPy.

    Args:
        knots_months: true ages in months at which factors are given, ascending and evenly spaced;
            factors between them are interpolated linearly.
        factors: factors for female and male at each knot: the maximum error as a multiple of the
            half-width of the network's own interval.
        least_half_width: minimum half-width in months; narrower ones are set to this value.
    """

    def __init__(
        self, knots_months: Any, factors: Any, least_half_width: Any, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.knots_months = tuple(knots_months)
        self.factors = tuple(tuple(of_sex) for of_sex in factors)
        self.least_half_width = least_half_width

    def call(self, inputs: Tensors) -> Tensor:
        """Maps months [B, 1], the network's interval [B, 2] and sex [B, 1] to intervals [B, 2]."""
        months, interval, sex = inputs
        return ops.concatenate(
            [
                -self._furthest(-months, months - interval[:, :1], sex, turned=True),
                self._furthest(months, interval[:, 1:] - months, sex, turned=False),
            ],
            axis=1,
        )

    def _furthest(self, months: Tensor, half_width: Tensor, sex: Tensor, turned: Tensor) -> Tensor:
        """Returns [B, 1] the largest true age for which the error is within the allowed range."""
        knots = np.array(self.knots_months, np.float32)
        female, male = np.array(self.factors, np.float32)
        if turned:
            knots, female, male = -knots[::-1], female[::-1], male[::-1]
        factors = female[None] + (male - female)[None] * sex
        half_width = ops.maximum(half_width, self.least_half_width)
        beyond = (knots[None] - months) - half_width * factors
        here, next_one = beyond[:, :-1], beyond[:, 1:]
        share = ops.clip(-here / ops.maximum(next_one - here, 1e-6), 0.0, 1.0)
        ends = knots[None, :-1] + float(knots[1] - knots[0]) * share
        within = ops.cast(here <= 0.0, "float32")
        ends = within * ends + (1.0 - within) * float(knots[0])
        return ops.max(ends, axis=1, keepdims=True)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0][0], 2)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "knots_months": self.knots_months,
            "factors": self.factors,
            "least_half_width": self.least_half_width,
        }


@keras.saving.register_keras_serializable("bone_age_tf")
class LineBySex(keras.layers.Layer):
    """Applies a line for each sex to ages, clipped to limits: a site calibration in the graph.

    Args:
        offset_months: offsets for female and male in months.
        slope: slopes for female and male.
        limits: minimum and maximum age in months.
    """

    def __init__(self, offset_months: Any, slope: Any, limits: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.offset_months, self.slope = tuple(offset_months), tuple(slope)
        self.limits = tuple(limits)

    def call(self, inputs: Tensors) -> Tensor:
        """Maps months [B, K] and sex [B, 1] to months [B, K]."""
        months, sex = inputs
        offset, slope = (
            female + (male - female) * sex for female, male in (self.offset_months, self.slope)
        )
        return ops.clip(offset + slope * months, *self.limits)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "offset_months": self.offset_months,
            "slope": self.slope,
            "limits": self.limits,
        }


@keras.saving.register_keras_serializable("bone_age_tf")
class Unfamiliarity(keras.layers.Layer):
    """Distance of features from those of the training images, as a fraction of the limit.

    See `evaluation.familiarity.Familiarity`, whose attributes are the layer's weights.

    Args:
        directions: number of main directions.
    """

    def __init__(self, directions: Any, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        kwargs.setdefault("trainable", False)
        super().__init__(**kwargs)
        self.directions = directions

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        shapes = {
            "mean": (channels,),
            "directions": (channels, self.directions),
            "spreads": (self.directions,),
            "rest": (),
            "limit": (),
        }
        for name, shape in shapes.items():
            setattr(self, f"known_{name}", self.add_weight(shape, "ones", name=name))

    def call(self, features: Tensor) -> Tensor:
        """Maps features [B, C], not negative, to distances [B, 1]."""
        features = ops.maximum(features, 0.0)
        total = ops.maximum(ops.sum(features, axis=1, keepdims=True), 1e-6)
        centred = ops.sqrt(features / total) - self.known_mean
        along = ops.matmul(centred, self.known_directions)
        across = ops.sum(ops.square(centred), axis=1, keepdims=True)
        across = across - ops.sum(ops.square(along), axis=1, keepdims=True)
        squared = ops.mean(ops.square(along / self.known_spreads), axis=1, keepdims=True)
        squared = squared + across / ops.square(self.known_rest)
        return ops.sqrt(ops.maximum(squared, 1e-12)) / self.known_limit

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "directions": self.directions}


@keras.saving.register_keras_serializable("bone_age_tf")
class DistributionQuantiles(keras.layers.Layer):
    """Quantiles of a distribution over age bins, linear within a bin.

    Args:
        bin_months: width of a bin; the first begins at 0 months.
        quantiles: shares, each between 0 and 1.
    """

    def __init__(self, bin_months: Any, quantiles: Any = (0.05, 0.95), **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.bin_months = bin_months
        self.quantiles = tuple(quantiles)

    def call(self, distribution: Tensor) -> Tensor:
        """Maps probabilities [B, ..., K] to months [B, ..., len(quantiles)]."""
        before = ops.cumsum(distribution, axis=-1) - distribution
        months = [
            # Bins below the quantile count 1, and the bin with the quantile counts its share.
            ops.sum(
                ops.clip((share - before) / ops.maximum(distribution, 1e-9), 0.0, 1.0),
                axis=-1,
                keepdims=True,
            )
            for share in self.quantiles
        ]
        return ops.concatenate(months, axis=-1) * self.bin_months

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (*input_shape[:-1], len(self.quantiles))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "bin_months": self.bin_months,
            "quantiles": self.quantiles,
        }

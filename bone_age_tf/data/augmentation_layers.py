"""Augmentation layers for radiographs: position of the hand, exposure, marks and mixing."""

import math
from typing import Any

import keras
from keras import ops

from bone_age_tf.tensors import Shape, Tensor, Tensors


class RandomPose(keras.layers.Layer):
    """Rotates, zooms, stretches, shears, shifts and mirrors each image in one interpolation.

    Keras' layers interpolate once each, and at 100 px each interpolation blurs the growth plates.
    Pixels from beyond the edge are black.

    Args:
        degrees: maximum rotation in degrees; the rotation is uniform in both directions.
        zoom: the logarithm of the zoom is uniform, from 1 / (1 + `shrink`) to 1 + `zoom`.
        shrink: see `zoom`; None for the value of `zoom`. A larger value simulates radiographs on
            which the hand is small.
        aspect: the logarithm of the change of width over height is uniform, from
            1 / (1 + `aspect`) to 1 + `aspect`.
        shear: maximum horizontal shift relative to the height; uniform in both directions.
        shift: maximum shift along each axis as a fraction of the side; uniform in both directions.
        flip: whether half of the images are mirrored.
        seed: seed of every random choice.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        zoom: float = 0.0,
        aspect: float = 0.0,
        shear: float = 0.0,
        shift: float = 0.0,
        flip: bool = False,
        shrink: Any = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.degrees, self.zoom, self.aspect = degrees, zoom, aspect
        self.shrink = zoom if shrink is None else shrink
        self.shear, self.shift, self.flip = shear, shift, flip
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps [B, H, W, 1] to the same."""
        if not training:
            return image
        shape = ops.shape(image)
        return ops.image.affine_transform(
            image,
            self._transforms(
                shape[0], ops.cast(shape[1], "float32"), ops.cast(shape[2], "float32")
            ),
            interpolation="bilinear",
            fill_mode="constant",
            fill_value=0.0,
            data_format="channels_last",
        )

    def _transforms(self, count: Tensor, height: Tensor, width: Tensor) -> Tensor:
        """Returns [B, 8] projective transforms from pixels of the output to those of the input."""

        def uniform(limit: Tensor, low: Any = None) -> Tensor:
            low = -limit if low is None else low
            return keras.random.uniform((count,), low, limit, seed=self._random)

        angle = uniform(math.radians(self.degrees))
        scale = ops.exp(uniform(math.log1p(self.zoom), -math.log1p(self.shrink)))
        narrow = ops.exp(uniform(math.log1p(self.aspect)) / 2)
        sides = ops.where(uniform(1.0) < 0.0, -1.0, 1.0) if self.flip else ops.ones_like(scale)
        cos, sin = ops.cos(angle), ops.sin(angle)
        x_of_x, x_of_y = cos / (scale * narrow) * sides, (uniform(self.shear) - sin) / scale
        y_of_x, y_of_y = sin / scale * sides, cos * narrow / scale
        across, down = (width - 1) / 2, (height - 1) / 2
        x0 = across - x_of_x * across - x_of_y * down + uniform(self.shift) * width
        y0 = down - y_of_x * across - y_of_y * down + uniform(self.shift) * height
        zero = ops.zeros_like(scale)
        return ops.stack([x_of_x, x_of_y, x0, y_of_x, y_of_y, y0, zero, zero], axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomExposure(keras.layers.Layer):
    """Changes tone and sharpness of each image within its range of grey levels.

    Models stretch each image between percentiles, so that brightness and contrast have little
    effect. The remaining effect of the exposure is the curve between black and white, here
    t / (t + k (1 - t)).

    Args:
        tone: the logarithm of k is uniform, from 1 / (1 + `tone`) to 1 + `tone`.
        crush: maximum share of the range that becomes black in half of the images; up to half of
            it becomes white in another half. Both shares are uniform.
        grain: maximum SD of the noise as a fraction of the range; the SD is uniform from 0. Results
            are clipped to the range, so that black becomes lighter, as in compressed files.
        levels: fewest grey levels of an image, at least 2, as in films that were darkened and saved
            with 8 bits; their number is log-uniform up to 256. 0 changes no levels.
        sharpness: maximum relative change of the difference from the 3 x 3 mean; uniform from
            -`sharpness` (blurred) to `sharpness`.
        seed: seed of every random choice.
    """

    def __init__(
        self,
        tone: float = 0.0,
        sharpness: float = 0.0,
        crush: float = 0.0,
        grain: float = 0.0,
        levels: int = 0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.tone, self.sharpness, self.crush, self.grain = tone, sharpness, crush, grain
        self.levels = levels
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps images [B, H, W, 1] to changed images with the same range of grey levels."""
        if not training:
            return image
        low = ops.min(image, axis=(1, 2, 3), keepdims=True)
        span = ops.maximum(ops.max(image, axis=(1, 2, 3), keepdims=True) - low, 1.0)
        grey = (image - low) / span
        outstanding = grey - _neighbourhood(grey)
        grey = grey + _each(image, -self.sharpness, self.sharpness, self._random) * outstanding
        if self.crush:
            black = ops.relu(_each(image, -self.crush, self.crush, self._random))
            white = ops.relu(_each(image, -self.crush, self.crush, self._random)) / 2
            grey = (ops.clip(grey, 0.0, 1.0) - black) / (1.0 - black - white)
        if self.grain:
            noise = keras.random.normal(ops.shape(image), seed=self._random)
            grey = ops.clip(grey, 0.0, 1.0) + _each(image, 0.0, self.grain, self._random) * noise
        grey = ops.clip(grey, 0.0, 1.0)
        if self.levels:
            powers = _each(image, math.log2(self.levels), 8.0, self._random)
            highest = ops.floor(2.0**powers) - 1.0
            grey = ops.floor(grey * highest + 0.5) / highest
        curve = math.log1p(self.tone)
        bend = ops.exp(_each(image, -curve, curve, self._random))
        return low + span * grey / (grey + bend * (1.0 - grey))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomCover(keras.layers.Layer):
    """Covers a box of some images with black (random erasing; Zhong et al. 2017, arXiv 1708.04896).

    Keras' `RandomErasing` (3.15) fails on images whose size is unknown while the graph is traced.

    Args:
        rate: share of images that are changed.
        area: maximum share of an image that is covered; its square root is uniform from a third of
            the maximum. The box is up to twice as long as wide.
        seed: seed of every random choice.
    """

    def __init__(self, rate: float = 0.5, area: float = 0.08, seed: int = 0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.rate, self.area = rate, area
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps [B, H, W, 1] to the same."""
        if not training:
            return image
        side = _each(image, self.area**0.5 / 3, self.area**0.5, self._random)
        long = 2.0 ** _each(image, -0.5, 0.5, self._random)
        covered = _box(image, side * long, side / long, self._random)
        chosen = ops.cast(_each(image, 0.0, 1.0, self._random) < self.rate, "float32")
        return image * (1.0 - covered * chosen)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomMarks(keras.layers.Layer):
    """Adds a box of white specks to some images, similar to lead letters, a name or a ruler.

    Args:
        rate: share of images that are changed.
        length: maximum length of the box as a fraction of the side; uniform from a sixth of it.
        seed: seed of every random choice.
    """

    def __init__(
        self, rate: float = 0.5, length: float = 0.5, seed: int = 0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.rate, self.length = rate, length
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps [B, H, W, 1] to the same."""
        if not training:
            return image
        shape = ops.shape(image)
        long = _each(image, self.length / 6, self.length, self._random)
        thin = _each(image, 0.02, 0.1, self._random)
        upright = _each(image, 0.0, 1.0, self._random) < 0.5
        height, width = ops.where(upright, long, thin), ops.where(upright, thin, long)
        box = _box(image, height, width, self._random)
        # The specks have one or two pixels and cover at most half of the box.
        dots = keras.random.uniform((shape[0], shape[1], shape[2], 1), seed=self._random)
        specks = ops.cast(dots < _each(image, 0.1, 0.6, self._random), "float32")
        white = _each(image, 128.0, 255.0, self._random)
        chosen = ops.cast(_each(image, 0.0, 1.0, self._random) < self.rate, "float32")
        return ops.maximum(image, white * box * specks * chosen)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomGreys(keras.layers.Layer):
    """Matches the histogram of some images to that of another image of the batch.

    Grey levels are mapped linearly between corresponding quantiles, so that uniform areas remain
    uniform.

    Args:
        rate: share of images that are changed.
        seed: seed of every random choice.
    """

    QUANTILES = 17

    def __init__(self, rate: float = 0.5, seed: int = 0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.rate = rate
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps [B, H, W, 1] to the same."""
        if not training:
            return image
        count = ops.shape(image)[0]
        levels = ops.linspace(0.0, 1.0, self.QUANTILES)
        quantiles = ops.transpose(ops.quantile(ops.reshape(image, (count, -1)), levels, axis=1))
        partner = ops.argmax(keras.random.uniform((count, count), seed=self._random), axis=1)
        others = ops.take(quantiles, partner, axis=0)
        matched = others[:, :1, None, None]
        for step in range(self.QUANTILES - 1):
            low = quantiles[:, step, None, None, None]
            high = quantiles[:, step + 1, None, None, None]
            way = others[:, step + 1, None, None, None] - others[:, step, None, None, None]
            matched += way * ops.clip((image - low) / ops.maximum(high - low, 1e-3), 0.0, 1.0)
        chosen = _each(image, 0.0, 1.0, self._random) < self.rate
        return ops.where(chosen, matched, image)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomPairing(keras.layers.Layer):
    """Averages some images with another of the batch (SamplePairing; Inoue 2018, arXiv 1801.02929).

    The label of the first image is kept. There are two deviations from the paper. The paper pairs
    images of any classes; here both images have the same sex and nearly the same age, since the
    label would otherwise be wrong. The paper interrupts the mixing periodically and stops it at the
    end; here it is never interrupted.

    Args:
        rate: share of images that are averaged, among the images that have a partner.
        months: maximum difference of the two ages in months.
        seed: seed of every random choice.
    """

    def __init__(
        self, rate: float = 0.5, months: float = 6.0, seed: int = 0, **kwargs: Any
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.rate, self.months = rate, months
        self._random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensors) -> Tensors:
        """Maps images [B, H, W, 1], sexes [B, 1] and ages in months [B, 1] to images and ages."""
        image, sex, age = inputs
        near = ops.abs(age - ops.transpose(age)) <= self.months
        partner, paired = _partners(ops.logical_and(near, _same(sex)), self._random)
        chosen = ops.cast(_each(image, 0.0, 1.0, self._random) < self.rate, "float32")
        share = 0.5 * chosen * paired[:, None, None, None]
        return (1.0 - share) * image + share * ops.take(image, partner, axis=0), age

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], input_shape[2]


class RandomMixUp(keras.layers.Layer):
    """Mixes each image and its age with another of its sex (MixUp; Zhang et al. 2018, 1710.09412).

    Args:
        alpha: parameter of the distribution Beta(alpha, alpha) of the mixing shares; a small value
            gives mostly one of the two images. Ages are mixed with the same shares.
        seed: seed of every random choice.
    """

    def __init__(self, alpha: float = 0.2, seed: int = 0, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.alpha = alpha
        self._random = keras.random.SeedGenerator(seed)

    def call(self, inputs: Tensors) -> Tensors:
        """Maps images [B, H, W, 1], sexes [B, 1] and ages in months [B, 1] to images and ages."""
        image, sex, age = inputs
        partner, paired = _partners(_same(sex), self._random)
        share = keras.random.beta(ops.shape(age), self.alpha, self.alpha, seed=self._random)
        share = ops.minimum(share, 1.0 - share) * paired[:, None]
        of_image = share[:, :, None, None]
        mixed = (1.0 - of_image) * image + of_image * ops.take(image, partner, axis=0)
        return mixed, (1.0 - share) * age + share * ops.take(age, partner, axis=0)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape[0], input_shape[2]


def _same(values: Tensor) -> Tensor:
    """Returns which pairs of values [B, 1] are equal, [B, B] bool."""
    return ops.equal(values, ops.transpose(values))


def _partners(possible: Tensor, seed: int) -> tuple[Any, ...]:
    """Returns the index [B] of a random partner of each image and whether it has one.

    Args:
        possible: [B, B] bool, the possible pairs.
        seed: source of every random choice.

    Returns:
        Indices [B], and [B] float32, 1 for an image with a partner, else 0.
    """
    count = ops.shape(possible)[0]
    itself = ops.equal(ops.arange(count)[:, None], ops.arange(count)[None, :])
    others = ops.cast(ops.logical_and(possible, ops.logical_not(itself)), "float32")
    luck = others * keras.random.uniform((count, count), 0.5, 1.0, seed=seed)
    return ops.argmax(luck, axis=1), ops.max(others, axis=1)


def _box(image: Tensor, height: Tensor, width: Tensor, seed: int) -> Tensor:
    """Returns masks [B, H, W, 1] of boxes at random positions; sides are fractions of the image."""
    shape = ops.shape(image)
    rows, columns = _piece(image, shape[1], height, seed), _piece(image, shape[2], width, seed)
    return rows * ops.transpose(columns, (0, 2, 1, 3))


def _piece(image: Tensor, size: Tensor, length: Tensor, seed: int) -> Tensor:
    """Returns masks [B, size, 1, 1] of random intervals of a line; lengths are fractions of it."""
    places = (ops.arange(size, dtype="float32")[None, :, None, None] + 0.5) / ops.cast(
        size, "float32"
    )
    return ops.cast(ops.abs(places - _each(image, 0.0, 1.0, seed)) < length / 2, "float32")


def _each(image: Tensor, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Returns a uniform random number for each image, [B, 1, 1, 1]."""
    return keras.random.uniform((ops.shape(image)[0], 1, 1, 1), low, high, seed=seed)


def _neighbourhood(image: Tensor) -> Tensor:
    """Returns the 3 x 3 means of [B, H, W, 1] from sums of shifted lines, faster than pooling."""
    for axis in (1, 2):
        size = image.shape[axis] or ops.shape(image)[axis]
        ends = [[0, 0]] * 4
        ends[axis] = [1, 1]
        wide = ops.pad(image, ends, "symmetric")
        image = sum(_cut(wide, axis, start, size) for start in range(3)) / 3.0
    return image


def _cut(image: Tensor, axis: Tensor, start: Tensor, size: Tensor) -> Tensor:
    return image[:, start : start + size] if axis == 1 else image[:, :, start : start + size]

"""Random layers made for radiographs: how a hand lies on the film, and how the film came out."""

import math
from typing import Any

import keras
from keras import ops

from bone_age_tf.tensors import Shape, Tensor, Tensors


class RandomPose(keras.layers.Layer):
    """Turns, zooms, narrows, shears, shifts and mirrors each image in one interpolation.

    Keras' own layers interpolate once each, and at 100 px each pass takes some of the growth plates
    away. What comes in from beyond the edge is black.

    Args:
        degrees: turns are uniform from -`degrees` to `degrees`.
        zoom: the logarithm of the zoom is uniform, from 1 / (1 + `shrink`) to 1 + `zoom`.
        shrink: None for `zoom`. More of it for films that show much beside the hand.
        aspect: the same of width over height, from 1 / (1 + `aspect`) to 1 + `aspect`.
        shear: horizontal shift by height, uniform from -`shear` to `shear`.
        shift: of each axis, in parts of the image's side, uniform.
        flip: whether half of the images are mirrored.
        seed: of every random choice.
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
        """Returns [B, 8]: where each pixel of the result comes from."""

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
    """Changes tone and sharpness of each image, within its own range of grey.

    Models stretch each image between its percentiles, so that brightness and contrast tell them
    little; what remains of the exposure is the curve between black and white: t / (t + k (1 - t)).

    Args:
        tone: the logarithm of k is uniform, from 1 / (1 + `tone`) to 1 + `tone`.
        crush: the darkest greys, up to this share of the range, become black in half of the images;
            the brightest, up to half of it, white in another half. Both shares are uniform.
        grain: SD of noise, in parts of the range; of each image uniform from 0. It stays in the
            range, so that black becomes lighter, as in files that were compressed.
        sharpness: an image keeps this share more or less of what stands out from its 3 x 3 mean:
            uniform from -`sharpness` (blurred) to `sharpness`.
        seed: of every random choice.
    """

    def __init__(
        self,
        tone: float = 0.0,
        sharpness: float = 0.0,
        crush: float = 0.0,
        grain: float = 0.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.tone, self.sharpness, self.crush, self.grain = tone, sharpness, crush, grain
        self._random = keras.random.SeedGenerator(seed)

    def call(self, image: Tensor, training: bool = False) -> Tensor:
        """Maps [B, H, W, 1] to the same, in the range of each image."""
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
        curve = math.log1p(self.tone)
        bend = ops.exp(_each(image, -curve, curve, self._random))
        return low + span * grey / (grey + bend * (1.0 - grey))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomCover(keras.layers.Layer):
    """Covers a box of some images with black (random erasing; Zhong et al. 2017, arXiv 1708.04896).

    Keras' `RandomErasing` (3.15) fails on images whose size is not known while a graph is traced.

    Args:
        rate: share of images that are covered.
        area: the largest share of an image that is covered; its square root is uniform from a third
            of the largest. The box is up to twice as long as wide.
        seed: of every random choice.
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
    """Puts something like lead letters, a name or a ruler on some images: a box of white specks.

    Args:
        rate: share of images that are marked.
        length: of the longest box, in parts of the image's side; uniform from a sixth of it.
        seed: of every random choice.
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
        # Specks of one to two pixels, half of the box or less
        dots = keras.random.uniform((shape[0], shape[1], shape[2], 1), seed=self._random)
        specks = ops.cast(dots < _each(image, 0.1, 0.6, self._random), "float32")
        white = _each(image, 128.0, 255.0, self._random)
        chosen = ops.cast(_each(image, 0.0, 1.0, self._random) < self.rate, "float32")
        return ops.maximum(image, white * box * specks * chosen)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomGreys(keras.layers.Layer):
    """Gives some images the greys of another of the batch: histogram matching in a random pair.

    Quantile by quantile, in straight lines between them, so that what is of one grey remains so.

    Args:
        rate: share of images that are changed.
        seed: of every random choice.
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
        own = ops.transpose(ops.quantile(ops.reshape(image, (count, -1)), levels, axis=1))
        partner = ops.argmax(keras.random.uniform((count, count), seed=self._random), axis=1)
        others = ops.take(own, partner, axis=0)
        matched = others[:, :1, None, None]
        for step in range(self.QUANTILES - 1):
            low, high = own[:, step, None, None, None], own[:, step + 1, None, None, None]
            way = others[:, step + 1, None, None, None] - others[:, step, None, None, None]
            matched += way * ops.clip((image - low) / ops.maximum(high - low, 1e-3), 0.0, 1.0)
        chosen = _each(image, 0.0, 1.0, self._random) < self.rate
        return ops.where(chosen, matched, image)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return input_shape


class RandomPairing(keras.layers.Layer):
    """Averages some images with another of the batch (SamplePairing; Inoue 2018, arXiv 1801.02929).

    The label stays the first image's. Theirs are pairs of any classes; ages of unlike hands would
    be wrong labels, so here a partner has the same sex and nearly the same age, where the batch
    holds one. Theirs stops now and then and at the end; this does not.

    Args:
        rate: share of images that are averaged, of those that have a partner.
        months: between the two ages, at most.
        seed: of every random choice.
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
        alpha: of the distribution Beta(alpha, alpha) that the shares come from: small for little of
            one in much of the other. The age goes by the same shares.
        seed: of every random choice.
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
    """Returns [B, B] bool from [B, 1]."""
    return ops.equal(values, ops.transpose(values))


def _partners(possible: Tensor, seed: int) -> tuple[Any, ...]:
    """Returns for each image the place [B] of a random other that is possible [B, B], and whether.

    Whether there is one is [B] float32, 1 or 0.
    """
    count = ops.shape(possible)[0]
    itself = ops.equal(ops.arange(count)[:, None], ops.arange(count)[None, :])
    others = ops.cast(ops.logical_and(possible, ops.logical_not(itself)), "float32")
    luck = others * keras.random.uniform((count, count), 0.5, 1.0, seed=seed)
    return ops.argmax(luck, axis=1), ops.max(others, axis=1)


def _box(image: Tensor, height: Tensor, width: Tensor, seed: int) -> Tensor:
    """Returns [B, H, W, 1], 1 in a box at a random place, sides in parts of the image's."""
    shape = ops.shape(image)
    rows, columns = _piece(image, shape[1], height, seed), _piece(image, shape[2], width, seed)
    return rows * ops.transpose(columns, (0, 2, 1, 3))


def _piece(image: Tensor, size: Tensor, length: Tensor, seed: int) -> Tensor:
    """Returns [B, size, 1, 1], 1 along a random piece of a line, lengths in parts of it."""
    places = (ops.arange(size, dtype="float32")[None, :, None, None] + 0.5) / ops.cast(
        size, "float32"
    )
    return ops.cast(ops.abs(places - _each(image, 0.0, 1.0, seed)) < length / 2, "float32")


def _each(image: Tensor, low: Tensor, high: Tensor, seed: int) -> Tensor:
    """Returns [B, 1, 1, 1], a uniform number for each image."""
    return keras.random.uniform((ops.shape(image)[0], 1, 1, 1), low, high, seed=seed)


def _neighbourhood(image: Tensor) -> Tensor:
    """Returns the 3 x 3 means of [B, H, W, 1]; sums of shifted lines are faster than pooling."""
    for axis in (1, 2):
        size = image.shape[axis] or ops.shape(image)[axis]
        ends = [[0, 0]] * 4
        ends[axis] = [1, 1]
        wide = ops.pad(image, ends, "symmetric")
        image = sum(_cut(wide, axis, start, size) for start in range(3)) / 3.0
    return image


def _cut(image: Tensor, axis: Tensor, start: Tensor, size: Tensor) -> Tensor:
    return image[:, start : start + size] if axis == 1 else image[:, :, start : start + size]

"""Grad-CAM (Selvaraju et al. 2017) through tf-explain, drawn on the radiograph."""

import dataclasses
from pathlib import Path

import keras
import ml_collections
import numpy as np
import tensorflow as tf
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tf_explain.core.grad_cam import GradCAM

from bone_age_tf import schema
from bone_age_tf.models.build import build_single_input_model, model_module


@dataclasses.dataclass(frozen=True)
class ExplainedCase:
    """One case to explain.

    Attributes:
        image_id: of the image.
        image: [size_px, size_px, 1] float32, 0 to 255.
        sex: 0 female, 1 male.
        age_months: the label.
        predicted_months: the model's answer.
    """

    image_id: str
    image: np.ndarray
    sex: int
    age_months: float
    predicted_months: float


def choose_cases(sex: np.ndarray, age_months: np.ndarray, count: int = 8) -> list[int]:
    """Chooses cases that span the ages of both sexes.

    Args:
        sex: [N] codes.
        age_months: [N].
        count: how many, fewer if there are not so many.

    Returns:
        Indices, females first, each sex by age.
    """
    females, males = (
        sorted(np.flatnonzero(sex == code), key=lambda i: (age_months[i], i))
        for code in (schema.FEMALE, schema.MALE)
    )
    # Half of each, and more of one where the other has too few.
    wanted = min(len(females), max(count // 2, count - len(males)))
    chosen: list[int] = []
    for by_age, number in ((females, wanted), (males, count - wanted)):
        places = np.linspace(0, len(by_age) - 1, min(number, len(by_age))).round().astype(int)
        chosen += [int(by_age[place]) for place in places]
    return chosen


def grad_cam_maps(
    network: keras.Model, config: ml_collections.ConfigDict, cases: list[ExplainedCase]
) -> list[np.ndarray]:
    """Explains each case with tf-explain's Grad-CAM on a feature map that the model names.

    tf-explain takes models of one input, so the same graph is built for each sex. With a
    distribution head the map shows the evidence for the most probable age bin; with a regression
    head, where the feature map raises the age.

    Args:
        network: the trained model.
        config: its resolved config.
        cases: what to explain.

    Returns:
        For each case a map [size_px, size_px] float32, 0 to 1; all 0 where no place speaks for it.
    """
    layer = model_module(config.model).explained_layer(config)
    size_px = config.image_size_px
    # Logits, not probabilities: a sure softmax has no gradient.
    target = "age_logits" if schema.DISTRIBUTION in network.output else "age_months"
    singles = {
        sex: build_single_input_model(network, config, size_px, sex, target)
        for sex in {case.sex for case in cases}
    }
    maps = []
    for case in cases:
        single, image = singles[case.sex], case.image[None]
        index = int(np.argmax(single(image, training=False)[0]))
        features, gradients = GradCAM.get_gradients_and_filters(
            single, image, layer, index, use_guided_grads=False
        )
        (heat,) = GradCAM.generate_ponderated_output(features, gradients)
        maps.append(_normalised(heat, size_px))
    return maps


def _normalised(heat: tf.Tensor, size_px: int) -> np.ndarray:
    positive = tf.nn.relu(tf.cast(heat, tf.float32))[..., None]
    large = tf.image.resize(positive, [size_px, size_px], method="bicubic")[..., 0].numpy()
    large = np.maximum(large, 0)
    return large / max(float(large.max()), 1e-12)


def draw_overlays(cases: list[ExplainedCase], maps: list[np.ndarray], folder: Path) -> list[Path]:
    """Draws each map over its radiograph, with age, prediction and sex in the title."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (case, heat) in enumerate(zip(cases, maps, strict=True), start=1):
        figure = Figure(figsize=(4.2, 4.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.imshow(case.image[..., 0], cmap="gray", vmin=0, vmax=255)
        overlay = axes.imshow(heat, cmap="viridis", alpha=0.45, vmin=0, vmax=1)
        axes.set_axis_off()
        axes.set_title(
            f"{schema.SEX_NAMES[case.sex]}, {case.age_months:.0f} months, "
            f"predicted {case.predicted_months:.1f}\n{case.image_id}",
            fontsize=9,
        )
        figure.colorbar(overlay, ax=axes, shrink=0.7, label="Grad-CAM (share of its maximum)")
        path = folder / f"grad_cam_{number}.png"
        figure.savefig(path, dpi=110)
        paths.append(path)
    return paths

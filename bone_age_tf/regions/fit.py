"""Trains the region detector on phantoms, then on phantoms and annotated radiographs.

Phantoms are available in any number with all boxes, whereas there are few real annotations. The
network learns the structure of a hand from phantoms, the appearance of radiographs from those that
an earlier detector has labelled, and the annotators' box sizes from annotated radiographs.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from bone_age_tf import schema
from bone_age_tf.regions.boxes import RegionImages
from bone_age_tf.regions.network import HEATMAPS, SIZE_PX, STRIDE, build_region_detector
from bone_age_tf.regions.samples import make_region_samples
from bone_age_tf.tensors import Tensor
from bone_age_tf.training.fused_norm import fuse_batch_norms

BATCH = 32
EPOCH = 250
"""Steps between two resume points."""
_SPREAD = 1.0
"""SD of the target heatmaps in cells of the map."""
_WEIGHTS = {"heat": 1.0, "centre": 1.0, "side": 1.0, "overlap": 1.0, "score": 0.5}


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of the training.

    Attributes:
        name: name of its weights in the folder.
        hands: sets of images.
        shares: share of each set in a batch; their sum is 1.
        steps: number of training steps.
        rate: largest learning rate.
    """

    name: str
    hands: list[RegionImages]
    shares: list[float]
    steps: int
    rate: float = 2e-3


class RegionBatches(keras.utils.PyDataset):
    """Batches for `fit`; the seed and the batch index determine a batch.

    Args:
        hands: sets of images.
        shares: share of each set in a batch; the shares add up to 1.
        batches: number of batches in an epoch.
        seed: seed of every random choice.
        first: index of the first batch, for an epoch that is continued.
    """

    def __init__(
        self,
        hands: list[RegionImages],
        shares: list[float],
        batches: int,
        seed: int,
        first: int = 0,
    ) -> None:
        super().__init__()
        self.hands, self.batches, self.seed, self.first = hands, batches, seed, first
        self.counts = np.diff(np.rint(np.cumsum([0.0, *shares]) * BATCH)).astype(int)

    def __len__(self) -> int:
        return self.batches

    def __getitem__(self, place: Tensor) -> Tensor:
        random = np.random.default_rng([self.seed, self.first + place])
        samples = [
            make_region_samples(
                images, random.choice(len(images), count, p=images.shares), random, SIZE_PX
            )
            for images, count in zip(self.hands, self.counts, strict=True)
            if count
        ]
        return tuple(np.concatenate(parts) for parts in zip(*samples, strict=True))


@keras.saving.register_keras_serializable("bone_age_tf")
class DetectorInTraining(keras.Model):
    """The network with its loss, which depends on several outputs.

    Args:
        network: a model that `build_region_detector` built.
    """

    def __init__(self, network: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.network = network

    def call(self, image: Tensor, training: Any = None) -> Tensor:
        """Maps images [B, S, S, 1] to the outputs of the network."""
        return self.network(image, training=training)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the weighted sum of `detection_losses` for truths [B, 17, 5]."""
        parts = detection_losses(y, y_pred)
        return sum(_WEIGHTS[name] * value for name, value in parts.items())


def detection_losses(truth: Tensor, outputs: dict) -> dict:
    """Returns the terms of the loss by name, each a mean over the present regions.

    `heat` is the cross-entropy of the heatmap with a Gaussian. `centre` and `side` are absolute
    errors relative to the true sides, so that small regions count as much as large ones. `overlap`
    is 1 - IoU. `score` is the cross-entropy of the score with the IoU, which is 0 for an absent
    region, and for a joint that is gone: its place is learned as if it were there, so that the
    score is that of the ground which is seen there instead of a neighbour's joint.

    Args:
        truth: [B, 17, 5] true boxes, NaN for absent regions, and whether they are shown, see
            `samples.make_region_samples`.
        outputs: the outputs of the network.
    """
    truth, is_shown = truth[..., :4], truth[..., 4]
    there = ops.cast(ops.logical_not(ops.isnan(truth[..., 0])), "float32")
    true = ops.where(ops.isnan(truth), 0.25 * ops.ones_like(truth), truth)
    boxes = outputs[schema.REGION_BOXES]
    total = ops.sum(there) + 1e-6

    def mean(values: Tensor) -> Tensor:
        return ops.sum(values * there) / total

    centre, sides = (true[..., :2] + true[..., 2:]) / 2, true[..., 2:] - true[..., :2]
    sides = ops.maximum(sides, 0.02)
    off = ops.abs((boxes[..., :2] + boxes[..., 2:]) / 2 - centre) / sides
    log_off = ops.abs(ops.log(ops.maximum(boxes[..., 2:] - boxes[..., :2], 1e-3) / sides))
    reached = _overlap(boxes, true)
    score = ops.clip(outputs[schema.REGION_SCORES], 1e-4, 1 - 1e-4)
    target = ops.stop_gradient(reached) * there * is_shown
    entropy = -target * ops.log(score) - (1 - target) * ops.log(1 - score)
    logits = ops.transpose(outputs[HEATMAPS], (0, 2, 1))
    shares = _gaussians(centre, SIZE_PX // STRIDE)
    heat = ops.logsumexp(logits, axis=-1) - ops.sum(shares * logits, axis=-1)
    return {
        "heat": mean(heat),
        "centre": mean(ops.sum(off, axis=-1)),
        "side": mean(ops.sum(log_off, axis=-1)),
        "overlap": mean(1.0 - reached),
        "score": ops.mean(entropy),
    }


def _overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns intersections over unions [B, R] of pairs of boxes [B, R, 4]."""
    low = ops.maximum(boxes[..., :2], others[..., :2])
    high = ops.minimum(boxes[..., 2:], others[..., 2:])
    shared = ops.prod(ops.relu(high - low), axis=-1)
    areas = [ops.prod(ops.relu(c[..., 2:] - c[..., :2]), axis=-1) for c in (boxes, others)]
    return shared / ops.maximum(areas[0] + areas[1] - shared, 1e-6)


def _gaussians(centres: Tensor, side: int) -> Tensor:
    """Returns normalised Gaussians [B, R, side * side] about centres [B, R, 2] (y, x)."""
    line = (ops.arange(side, dtype="float32") + 0.5) / side
    y, x = (
        ops.exp(-0.5 * ops.square((line - centres[..., axis : axis + 1]) * side / _SPREAD))
        for axis in (0, 1)
    )
    maps = y[..., :, None] * x[..., None, :]
    flat = ops.reshape(maps, (-1, centres.shape[1], side * side))
    return flat / (ops.sum(flat, axis=-1, keepdims=True) + 1e-6)


def train_region_detector(
    phantoms: RegionImages,
    annotated: RegionImages | None,
    steps: tuple[int, int, int],
    seed: int,
    checkpoints: Path,
    labelled: RegionImages | None = None,
) -> keras.Model:
    """Trains on phantoms, or on radiographs with some phantoms among them.

    With annotated radiographs only, which are few, the network is trained on phantoms first.

    Args:
        phantoms: phantoms with a side of `SOURCE_PX`.
        annotated: annotated radiographs of the same size; None trains on phantoms only.
        steps: number of training steps with phantoms, with radiographs, and last with more of the
            annotated ones at a lower rate.
        seed: seed of the initial weights and of the samples.
        checkpoints: folder for the weights after each stage; a stage whose weights exist is not
            trained again, and an interrupted one resumes after its last `EPOCH` steps.
        labelled: further radiographs, labelled by an earlier detector; None for none.

    Returns:
        The network with weights averaged over the last steps.
    """
    keras.utils.set_random_seed(seed)
    network = build_region_detector()
    fuse_batch_norms(network)
    checkpoints.mkdir(parents=True, exist_ok=True)
    stages = [] if labelled else [Stage("phantoms", [phantoms], [1.0], steps[0])]
    if annotated is not None and not labelled:
        stages.append(Stage("annotated", [phantoms, annotated], [0.3, 0.7], steps[1]))
    elif annotated is not None and labelled:
        hands = [phantoms, annotated, labelled]
        stages.append(Stage("radiographs", hands, [0.1, 0.2, 0.7], steps[1]))
        stages.append(Stage("last", hands, [0.1, 0.4, 0.5], steps[2], rate=5e-4))
    for number, stage in enumerate(stages):
        path = checkpoints / f"{stage.name}.weights.h5"
        if path.exists():
            print(f"{path} is there already")
            network.load_weights(path)
            continue
        _train_stage(network, stage, seed + number, checkpoints)
        network.save_weights(path)
    return network


def _train_stage(network: keras.Model, stage: Stage, seed: int, checkpoints: Path) -> None:
    model = DetectorInTraining(network)
    model.compile(_optimizer(stage.rate, stage.steps))
    model.build((None, SIZE_PX, SIZE_PX, 1))
    model.optimizer.build(model.trainable_variables)
    # The iterations of the optimiser, which are saved with the weights, say how far it is.
    resume = checkpoints / f"{stage.name}_interrupted.weights.h5"
    if resume.exists():
        model.load_weights(resume)
    done = int(model.optimizer.iterations)
    while done < stage.steps:
        count = min(EPOCH, stage.steps - done)
        print(f"{stage.name}: steps {done + 1} to {done + count} of {stage.steps}", flush=True)
        batches = RegionBatches(stage.hands, stage.shares, count, seed, done)
        model.fit(batches, shuffle=False, verbose=1 if sys.stdout.isatty() else 2)
        done += count
        if done < stage.steps:
            part = checkpoints / f"{stage.name}_part.weights.h5"
            model.save_weights(part)
            part.replace(resume)
    resume.unlink(missing_ok=True)


def _optimizer(rate: float, steps: int) -> keras.optimizers.Optimizer:
    warmup = max(1, steps // 20)
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), alpha=0.01, warmup_target=rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=1e-3, global_clipnorm=1.0)

"""One `fit` from a prepared dataset to checkpoints, that goes on where it was killed."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import keras
import ml_collections
import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import augmentation, label_trust, pipeline
from bone_age_tf.models.build import build_model
from bone_age_tf.training import checkpoints
from bone_age_tf.training.augmented import AugmentedModel, PartWeights
from bone_age_tf.training.initial_weights import initialise
from bone_age_tf.training.losses import build_losses
from bone_age_tf.training.optimizer import StagedAdamW, plan_stages

FINISHED_FILE = "finished.json"
TRAINING_IMAGES = "training_images"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Steps of a run.

    Attributes:
        epochs: passes over the training images.
        steps_per_epoch: batches a pass; what does not fill a batch comes in the next pass.
    """

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """All batches of the run."""
        return self.epochs * self.steps_per_epoch

    def ema_momentum(self, share: float) -> float:
        """Returns the momentum of an average over about that share of all steps."""
        return 1 - 1 / max(1.0, share * self.steps)

    def stages(self, config: ml_collections.ConfigDict) -> list[tuple[int, int]]:
        """Returns (first step, side in pixels) for `pipeline.make_training_dataset`."""
        if not config.stage_scales:
            return []
        firsts = [0.0, *config.stage_ends[:-1]]
        return [
            (round(first * self.steps), round(scale * config.image_size_px))
            for first, scale in zip(firsts, config.stage_scales, strict=True)
        ]


def fit(
    config: ml_collections.ConfigDict,
    builder: tfds.core.DatasetBuilder,
    parts: dict[str, pipeline.Part],
    workdir: Path,
    seed: int,
) -> Path:
    """Trains to the end, from the newest resume point in the run's folder if there is one.

    Args:
        config: the resolved config.
        builder: of the prepared dataset.
        parts: see `pipeline.choose_parts`.
        workdir: the run's folder.
        seed: of the initial weights, the order and the augmentation.

    Returns:
        The network with the lowest validation MAE, `checkpoints/best.keras`.

    Raises:
        checkpoints.TrainingDivergedError: the loss is no longer a number.
        ConfigError: the first weights cannot be had.
        ValueError: too few images for a batch.
    """
    folder = workdir / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / FINISHED_FILE
    if finished.exists():
        return folder / "best.keras"
    ids = training_ids(config, builder, parts["train"])
    if len(ids) < config.batch_size:
        raise ValueError(
            f"{len(ids)} training images do not fill a batch of {config.batch_size}; "
            f"lower it with --config.batch_size={max(1, len(ids) // 4)}"
        )
    schedule = Schedule(config.epochs, len(ids) // config.batch_size)
    keras.utils.set_random_seed(seed)
    model = compiled(config, schedule, seed)
    points = checkpoints.ResumePoints(folder)
    done = points.restore(model)
    if done:
        print(f"going on after epoch {done} of {schedule.epochs}")
    elif loaded := initialise(model.network, config):
        print(f"first weights from {config.init}: {loaded}")
    keep = checkpoints.KeepNetworks(folder, model.network)
    if not schedule.epochs:
        keep.save_all()
    checkpoints.forget_later_rows(workdir / "log.csv", done)
    training = make_batches(config, builder, parts["train"], schedule, seed, len(ids), done)
    validation = pipeline.make_evaluation_dataset(
        builder,
        parts["validation"],
        config.image_size_px,
        config.resize,
        config.batch_size,
        len(pipeline.read_table(builder, parts["validation"])),
    )
    model.fit(
        training.map(with_targets(model.trained_outputs, model.mixing is not None)),
        validation_data=validation.map(with_targets(model.trained_outputs)),
        epochs=schedule.epochs,
        initial_epoch=done,
        steps_per_epoch=schedule.steps_per_epoch,
        callbacks=[
            points,
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keep,
            checkpoints.StopOnNaN(),
            keras.callbacks.CSVLogger(workdir / "log.csv", append=True),
            keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False),
        ],
        shuffle=False,
        verbose=_verbosity(),
    )
    record = {"epochs": schedule.epochs, "steps": schedule.steps, TRAINING_IMAGES: len(ids)}
    finished.write_text(json.dumps(record) + "\n")
    return folder / "best.keras"


def training_ids(
    config: ml_collections.ConfigDict, builder: tfds.core.DatasetBuilder, part: pipeline.Part
) -> list[str]:
    """Returns the ids of the images that train: those of a part that are not left out.

    Raises:
        ConfigError: see `label_trust.read_label_trust`; or its tables name none of the images.
    """
    ids = pipeline.read_table(builder, part).image_id
    trust = label_trust.read_label_trust(config)
    label_trust.require_named(trust, ids)
    return [image_id for image_id in ids if trust.get(image_id, 1.0) > 0]


def make_batches(
    config: ml_collections.ConfigDict,
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    schedule: Schedule,
    seed: int,
    examples: int,
    done: int = 0,
) -> tf.data.Dataset:
    """Returns the training batches from an epoch on, see `pipeline.make_training_dataset`.

    Args:
        config: the resolved config.
        builder: of the prepared dataset.
        part: the training images.
        schedule: of the whole training, for the sizes of the images.
        seed: of the order.
        examples: in the part.
        done: epochs to leave out.
    """
    return pipeline.make_training_dataset(
        builder,
        part,
        config.image_size_px,
        config.resize,
        config.batch_size,
        seed,
        examples,
        start_step=done * schedule.steps_per_epoch,
        stages=schedule.stages(config),
        trust=_weights(config, builder, part),
    )


def _weights(
    config: ml_collections.ConfigDict, builder: tfds.core.DatasetBuilder, part: pipeline.Part
) -> dict[str, float]:
    """Returns how much each training image counts, by its id."""
    trust = label_trust.read_label_trust(config)
    if not config.balance:
        return trust
    table = pipeline.read_table(builder, part)
    weights = label_trust.balance_weights(
        table.image_id, table.sex, table.age_months, config.balance
    )
    return {name: weight * trust.get(name, 1.0) for name, weight in weights.items()}


def predict(
    network: keras.Model,
    config: ml_collections.ConfigDict,
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    examples: int,
) -> dict[str, np.ndarray]:
    """Runs the network over every example of a part once, in the order of its table.

    Returns:
        Arrays by output name, first axis N.
    """
    dataset = pipeline.make_evaluation_dataset(
        builder, part, config.image_size_px, config.resize, config.batch_size, examples
    )
    return network.predict(dataset, verbose=_verbosity())


def predict_features(
    network: keras.Model,
    config: ml_collections.ConfigDict,
    builder: tfds.core.DatasetBuilder,
    part: pipeline.Part,
    most: int = 4000,
) -> np.ndarray:
    """Returns [N, C], what a network of one output says of the first images of a part.

    Args:
        network: see `build.build_features_model`.
        config: the resolved config.
        builder: of the prepared dataset.
        part: which examples.
        most: images to look at; whole batches of them.
    """
    size, resize, batch = config.image_size_px, config.resize, config.batch_size
    examples = len(pipeline.read_table(builder, part))
    dataset = pipeline.make_evaluation_dataset(builder, part, size, resize, batch, examples)
    return network.predict(dataset.take(math.ceil(most / batch)), verbose=0)


def _verbosity() -> int:
    """A progress bar on a terminal, a line an epoch in a log."""
    return 1 if sys.stdout.isatty() else 2


def compiled(config: ml_collections.ConfigDict, schedule: Schedule, seed: int) -> AugmentedModel:
    """Returns a new model with its augmentation, losses and optimiser, ready to fit.

    Args:
        config: the resolved config.
        schedule: how many steps the learning rate and the averages are planned for.
        seed: of the augmentation; the weights follow Keras' own seed.
    """
    losses, weights = build_losses(config)
    model = AugmentedModel(
        build_model(config),
        augmentation.build_augmentation(config.augmentation, seed),
        tuple(losses),
        augmentation.build_mixing(config.augmentation, seed),
        PartWeights(config.second_view_weight, config.apart_weight)
        if config.get("selection", False)
        else None,
        seed,
    )
    model.build()
    warmup = max(1, round(config.warmup_fraction * schedule.steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, schedule.steps - warmup),
        alpha=0.01,
        warmup_target=config.learning_rate,
        warmup_steps=warmup,
    )
    optimizer = StagedAdamW(
        plan_stages(model.network, config, schedule.steps),
        learning_rate=rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm,
        use_ema=True,
        ema_momentum=schedule.ema_momentum(config.ema_share),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Built here, or its variables appear while the step is traced, and TensorFlow traces it twice.
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=losses,
        loss_weights=weights,
        metrics={
            schema.AGE_MONTHS: keras.metrics.MeanAbsoluteError(name=checkpoints.MAE_METRIC),
            **{name: [] for name in losses if name != schema.AGE_MONTHS},
        },
    )
    return model


def with_targets(names: tuple[str, ...], with_ages: bool = False):
    """Returns what gives each output with a loss its target, and the augmentation the ages."""

    def targets_fn(inputs, age, *weight):
        if with_ages:
            inputs = {**inputs, schema.AGE_MONTHS: age}
        return inputs, dict.fromkeys(names, age), *weight

    return targets_fn

"""Trains a model with checkpoints and resumes an interrupted run."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from bone_age_tf import schema
from bone_age_tf.data import augmentation
from bone_age_tf.errors import ConfigError
from bone_age_tf.files import replace_file
from bone_age_tf.models.build import build_model, model_traits
from bone_age_tf.settings import Config
from bone_age_tf.tensors import Tensor, Tensors
from bone_age_tf.training import checkpoints
from bone_age_tf.training.augmented import AugmentedModel, PartWeights
from bone_age_tf.training.fused_norm import fuse_batch_norms
from bone_age_tf.training.initial_weights import initialise
from bone_age_tf.training.losses import build_losses
from bone_age_tf.training.optimizer import StagedAdamW, plan_stages
from bone_age_tf.training.progress import Progress
from bone_age_tf.training.source import TrainingData

FINISHED_FILE = "finished.json"
TRAINING_IMAGES = "training_images"


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Number of steps of a run.

    Attributes:
        epochs: number of passes over the training images.
        steps_per_epoch: number of batches in a pass; images that do not fill a batch are used in
            the next pass.
    """

    epochs: int
    steps_per_epoch: int

    @property
    def steps(self) -> int:
        """Number of batches of the run."""
        return self.epochs * self.steps_per_epoch

    def ema_momentum(self, share: float) -> float:
        """Returns the momentum of an average over about the given share of all steps."""
        return 1 - 1 / max(1.0, share * self.steps)

    def stages(self, config: Config) -> list[tuple[int, int]]:
        """Returns (first step, side in pixels) for `pipeline.make_training_dataset`."""
        if not config.stage_scales:
            return []
        firsts = [0.0, *config.stage_ends[:-1]]
        return [
            (round(first * self.steps), round(scale * config.image_size_px))
            for first, scale in zip(firsts, config.stage_scales, strict=True)
        ]


def fit(
    config: Config,
    data: TrainingData,
    workdir: Path,
    seed: int,
    resume_seconds: float = checkpoints.RESUME_SECONDS,
    stop_at: float | None = None,
) -> Path:
    """Trains a model, starting from the newest resume point in the run's folder if there is one.

    Runs with every Keras backend.

    Args:
        config: the resolved config.
        data: the images.
        workdir: the run's folder.
        seed: seed of the initial weights, the order and the augmentation.
        resume_seconds: maximum time between two resume points in seconds.
        stop_at: `time.monotonic()` at which the training is interrupted, to be resumed later; None
            trains to the end.

    Returns:
        The network with the lowest validation MAE, `checkpoints/best.keras`.

    Raises:
        TrainingDivergedError: the loss is not finite.
        OutOfTimeError: `stop_at` was reached; a resume point has been written.
        ConfigError: the initial weights are not available, or there are too few images for a batch.
    """
    folder = workdir / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    finished = folder / FINISHED_FILE
    if finished.exists():
        return folder / "best.keras"
    ids = data.training_ids(config)
    if len(ids) < config.batch_size:
        raise ConfigError(
            f"{len(ids)} training images do not fill a batch of {config.batch_size}; "
            f"lower it with --config.batch_size={max(1, len(ids) // 4)}"
        )
    schedule = Schedule(config.epochs, len(ids) // config.batch_size)
    keras.utils.set_random_seed(seed)
    model = compiled(config, schedule, seed)
    points = checkpoints.ResumePoints(folder, schedule.steps_per_epoch, resume_seconds, stop_at)
    done = points.restore(model)
    if done:
        print(f"resuming after step {done} of {schedule.steps}", flush=True)
    elif loaded := initialise(model.network, config):
        print(f"first weights from {config.init}: {loaded}", flush=True)
    epoch, steps_into_epoch = divmod(done, max(1, schedule.steps_per_epoch))
    keep = checkpoints.KeepNetworks(folder, model.network)
    validation = data.validation_batches(config, with_targets(model.trained_outputs))
    if not schedule.epochs:
        keep.save_untrained(model.evaluate(validation, return_dict=True, verbose=0))
    checkpoints.forget_later_rows(workdir / "log.csv", epoch)
    model.skip_steps(steps_into_epoch)
    # Only Torch's trainer draws a batch for a step that is skipped.
    first_step = done - steps_into_epoch if keras.backend.backend() == "torch" else done
    targets_fn = with_targets(model.trained_outputs, model.mixing is not None)
    model.fit(
        data.training_batches(config, schedule.stages(config), seed, first_step, targets_fn),
        validation_data=validation,
        epochs=schedule.epochs,
        initial_epoch=epoch,
        steps_per_epoch=schedule.steps_per_epoch,
        callbacks=[
            points,
            keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
            keep,
            checkpoints.StopOnNaN(),
            keras.callbacks.CSVLogger(workdir / "log.csv", append=True),
            *_tensorboard(workdir),
            Progress(schedule, config.batch_size, done),
            points.committer(),
        ],
        shuffle=False,
        verbose=0,
    )
    record = {"epochs": schedule.epochs, "steps": schedule.steps, TRAINING_IMAGES: len(ids)}
    replace_file(finished, (json.dumps(record) + "\n").encode())
    return folder / "best.keras"


def _tensorboard(workdir: Path) -> list[keras.callbacks.Callback]:
    """Returns the callback that writes TensorBoard logs, which needs TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False)]


def compiled(config: Config, schedule: Schedule, seed: int) -> AugmentedModel:
    """Returns a new compiled model with augmentation, losses and optimiser.

    Args:
        config: the resolved config.
        schedule: number of steps, which determines the learning rate and the averages.
        seed: seed of the augmentation; the weights depend on Keras' global seed.
    """
    losses, weights = build_losses(config)
    declared = model_traits(config.model).part_weights
    part_weights = None if declared is None else declared(config)
    network = build_model(config)
    fuse_batch_norms(network)
    model = AugmentedModel(
        network,
        augmentation.build_augmentation(config.augmentation, seed),
        tuple(losses),
        augmentation.build_mixing(config.augmentation, seed),
        None if part_weights is None else PartWeights(*part_weights),
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
    _build_loss_trackers(model)
    return model


def _build_loss_trackers(model: AugmentedModel) -> None:
    """Makes Keras create the variables that track each output's loss.

    They would otherwise appear while the training step is traced, and TensorFlow traces a function
    again that has created variables. The optimiser is built before the first step for this reason,
    too.
    """
    shapes = {name: model.network.output[name].shape[1:] for name in model.trained_outputs}
    answers = {name: keras.ops.ones((1, *shape)) for name, shape in shapes.items()}
    model.compute_loss(y={name: keras.ops.ones((1, 1)) for name in shapes}, y_pred=answers)
    model.reset_metrics()


def with_targets(names: tuple[str, ...], with_ages: bool = False) -> Callable[..., Any]:
    """Returns a function that gives the ages as targets of the outputs, and to the augmentation."""

    def targets_fn(inputs: Tensors, age: Tensor, *weight: Any) -> tuple[Any, ...]:
        if with_ages:
            inputs = {**inputs, schema.AGE_MONTHS: age}
        return inputs, dict.fromkeys(names, age), *weight

    return targets_fn

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
from bone_age_tf.training.distribution import Distribution
from bone_age_tf.training.fused_norm import fuse_batch_norms
from bone_age_tf.training.initial_weights import initialise
from bone_age_tf.training.losses import build_losses
from bone_age_tf.training.optimizer import StagedAdamW, plan_stages
from bone_age_tf.training.progress import Progress
from bone_age_tf.training.replicas import train_replicas
from bone_age_tf.training.source import TrainingData

FINISHED_FILE = "finished.json"
TRAINING_IMAGES = "training_images"
_CHECKPOINTS = "checkpoints"


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
    distribution: Distribution | None = None,
) -> Path:
    """Trains a model, starting from the newest resume point in the run's folder if there is one.

    Runs with every Keras backend. Resume points do not depend on the number of devices and workers.

    Args:
        config: the resolved config.
        data: the images.
        workdir: the run's folder.
        seed: seed of the initial weights, the order and the augmentation.
        resume_seconds: maximum time between two resume points in seconds.
        stop_at: `time.monotonic()` at which the training is interrupted, to be resumed later; None
            trains to the end. Several workers cannot be interrupted.
        distribution: devices and workers among which every batch is divided, which needs
            TensorFlow; None for Keras' `fit` on one device. Only the chief reads and writes files.

    Returns:
        The network with the lowest validation MAE, `checkpoints/best.keras`; it is only on the
        chief.

    Raises:
        TrainingDivergedError: the loss is not finite.
        OutOfTimeError: `stop_at` was reached; a resume point has been written.
        ConfigError: the initial weights are not available, there are too few images for a batch, or
            the replicas cannot share a batch equally.
        EngineError: another worker has ended.
    """
    if distribution is not None:
        return _fit_replicas(
            config, data, workdir, seed, resume_seconds, stop_at, distribution=distribution
        )
    if _finished(workdir).exists():
        return _best(workdir)
    schedule, images = _schedule(config, data)
    keras.utils.set_random_seed(seed)
    model = compiled(config, schedule, seed)
    points = _resume_points(workdir, schedule, resume_seconds, stop_at)
    done = _restore(points, model, config, schedule)
    validation = data.validation_batches(config, with_targets(model.trained_outputs))
    steps_into_epoch = done % max(1, schedule.steps_per_epoch)
    model.skip_steps(steps_into_epoch)
    # Only Torch's trainer draws a batch for a step that is skipped.
    first_step = done - steps_into_epoch if keras.backend.backend() == "torch" else done
    targets_fn = with_targets(model.trained_outputs, model.mixing is not None)
    model.fit(
        data.training_batches(config, schedule.stages(config), seed, first_step, targets_fn),
        validation_data=validation,
        epochs=schedule.epochs,
        initial_epoch=done // max(1, schedule.steps_per_epoch),
        steps_per_epoch=schedule.steps_per_epoch,
        callbacks=_callbacks(model, points, schedule, config, workdir, validation, done),
        shuffle=False,
        verbose=0,
    )
    _write_finished(workdir, schedule, images)
    return _best(workdir)


def _fit_replicas(
    config: Config,
    data: TrainingData,
    workdir: Path,
    seed: int,
    resume_seconds: float,
    stop_at: float | None,
    distribution: Distribution,
) -> Path:
    """Trains as `fit` does, on the devices and workers of a distribution."""
    if stop_at is not None and distribution.workers > 1:
        raise ValueError("stop_at: the workers would not stop after the same step")
    chief = distribution.is_chief
    distribution.require_divisible(config.batch_size)
    if distribution.from_chief(chief and _finished(workdir).exists()):
        return _best(workdir)
    schedule, images = _schedule(config, data)
    distribution.require_same(
        {"settings": config.to_dict(), "seed": seed, "training images": data.training_ids(config)}
    )
    keras.utils.set_random_seed(seed)
    model = compiled(config, schedule, seed, fused_norms=False)
    callbacks, validation, done = [], None, 0
    if chief:
        points = _resume_points(workdir, schedule, resume_seconds, stop_at)
        done = _restore(points, model, config, schedule)
        validation = data.validation_batches(config, with_targets(model.trained_outputs))
        callbacks = _callbacks(model, points, schedule, config, workdir, validation, done)
    done = distribution.from_chief(done)
    targets_fn = with_targets(model.trained_outputs, model.mixing is not None)
    train_replicas(
        model,
        data.training_batches(config, schedule.stages(config), seed, done, targets_fn),
        validation,
        schedule.epochs,
        schedule.steps_per_epoch,
        done,
        callbacks,
        distribution,
    )
    if chief:
        _write_finished(workdir, schedule, images)
    distribution.wait_for_all()
    return _best(workdir)


def _schedule(config: Config, data: TrainingData) -> tuple[Schedule, int]:
    """Returns the number of steps of a run and the number of its images."""
    images = len(data.training_ids(config))
    if images < config.batch_size:
        raise ConfigError(
            f"{images} training images do not fill a batch of {config.batch_size}; "
            f"lower it with --config.batch_size={max(1, images // 4)}"
        )
    return Schedule(config.epochs, images // config.batch_size), images


def _best(workdir: Path) -> Path:
    return workdir / _CHECKPOINTS / "best.keras"


def _finished(workdir: Path) -> Path:
    return workdir / _CHECKPOINTS / FINISHED_FILE


def _write_finished(workdir: Path, schedule: Schedule, images: int) -> None:
    record = {"epochs": schedule.epochs, "steps": schedule.steps, TRAINING_IMAGES: images}
    replace_file(_finished(workdir), (json.dumps(record) + "\n").encode())


def _resume_points(
    workdir: Path, schedule: Schedule, resume_seconds: float, stop_at: float | None
) -> checkpoints.ResumePoints:
    folder = workdir / _CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    return checkpoints.ResumePoints(folder, schedule.steps_per_epoch, resume_seconds, stop_at)


def _restore(
    points: checkpoints.ResumePoints, model: AugmentedModel, config: Config, schedule: Schedule
) -> int:
    """Loads a resume point or the initial weights; returns the number of steps that are done."""
    done = points.restore(model)
    if done:
        print(f"resuming after step {done} of {schedule.steps}", flush=True)
    elif loaded := initialise(model.network, config):
        print(f"first weights from {config.init}: {loaded}", flush=True)
    return done


def _callbacks(
    model: AugmentedModel,
    points: checkpoints.ResumePoints,
    schedule: Schedule,
    config: Config,
    workdir: Path,
    validation: Any,
    done: int,
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks that write the files of a run; without epochs, writes the networks."""
    keep = checkpoints.KeepNetworks(workdir / _CHECKPOINTS, model.network)
    if not schedule.epochs:
        keep.save_untrained(model.evaluate(validation, return_dict=True, verbose=0))
    log = workdir / "log.csv"
    checkpoints.forget_later_rows(log, done // max(1, schedule.steps_per_epoch))
    return [
        points,
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        keep,
        checkpoints.StopOnNaN(),
        keras.callbacks.CSVLogger(log, append=True),
        *_tensorboard(workdir),
        Progress(schedule, config.batch_size, done),
        points.committer(),
    ]


def _tensorboard(workdir: Path) -> list[keras.callbacks.Callback]:
    """Returns the callback that writes TensorBoard logs, which needs TensorFlow."""
    if keras.backend.backend() != "tensorflow":
        return []
    return [keras.callbacks.TensorBoard(workdir / "tensorboard", write_graph=False)]


def compiled(
    config: Config, schedule: Schedule, seed: int, fused_norms: bool = True
) -> AugmentedModel:
    """Returns a new compiled model with augmentation, losses and optimiser.

    Args:
        config: the resolved config.
        schedule: number of steps, which determines the learning rate and the averages.
        seed: seed of the augmentation; the weights depend on Keras' global seed.
        fused_norms: whether batch normalization is fused, see `fused_norm`; not for replicas, since
            it only sees the images of one device.
    """
    losses, weights = build_losses(config)
    declared = model_traits(config.model).part_weights
    part_weights = None if declared is None else declared(config)
    network = build_model(config)
    if fused_norms:
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

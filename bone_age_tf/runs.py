"""Training runs: folder, training, evaluation, export and explanation.

Imports TensorFlow.
"""

import dataclasses
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.catalog import DEFAULT_EXPORTS_DIR
from bone_age_tf.data import pipeline
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.errors import ConfigError
from bone_age_tf.evaluation.familiarity import Familiarity, fit_familiarity
from bone_age_tf.evaluation.interval import (
    FOLDS,
    MIN_CASES,
    IntervalTable,
    cross_fitted_interval,
    fit_interval,
)
from bone_age_tf.evaluation.metrics import Predictions
from bone_age_tf.evaluation.region_norms import RegionNorms, fit_region_norms
from bone_age_tf.evaluation.report import write_report
from bone_age_tf.files import require_writable_folder, write_json
from bone_age_tf.models.build import build_features_model, load_network
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.program import program
from bone_age_tf.settings import Config
from bone_age_tf.training import fit as fitting
from bone_age_tf.training import prediction
from bone_age_tf.training.distribution import Distribution
from bone_age_tf.training.initial_weights import require_source
from bone_age_tf.training.precision import set_precision

INTERVAL_FILE = "interval_by_age.json"
RUNS = Path("runs")
"""Folder of runs without a named folder, in the working directory."""


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Location of a dataset.

    Attributes:
        data_dir: folder of prepared datasets.
        manual_dir: folder of the user's files, or None.
        skip_bad_rows: whether rows that cannot be used are skipped instead of raising an error.
        beam_runner: runner of Apache Beam that prepares the dataset, or None.
    """

    data_dir: Path = Path("data")
    manual_dir: Path | None = None
    skip_bad_rows: bool = False
    beam_runner: str | None = None


@dataclasses.dataclass(frozen=True)
class Run:
    """A training run; see `begin_run` and `open_run`.

    Attributes:
        workdir: the run's folder.
        config: the resolved config.
        builder: TFDS builder of the prepared dataset.
        parts: training, validation and test parts of the dataset.
        seed: seed of every random choice.
        exports_dir: folder of its exports.
        distribution: devices and workers of its training; None for one device.
    """

    workdir: Path
    config: Config
    builder: tfds.core.DatasetBuilder
    parts: dict[str, pipeline.Part]
    seed: int
    exports_dir: Path
    distribution: Distribution | None = None

    def train(self) -> Path:
        """Trains the network, or continues an interrupted training; returns the best checkpoint.

        Raises:
            TrainingDivergedError: the loss is no longer finite.
            ConfigError: the initial weights are not available, there are too few images, or the
                devices cannot share a batch equally.
            EngineError: another worker has ended.
        """
        return fitting.fit(
            self.config, self.data(), self.workdir, self.seed, distribution=self.distribution
        )

    def evaluate(self) -> dict:
        """Measures the best checkpoint on the test part and writes the report; returns metrics."""
        return evaluate(self)

    def export(self, formats: Sequence[str] | None = None, **options: Any) -> dict:
        """Exports the best checkpoint as a new version; see `export.exporting.export`."""
        from bone_age_tf.export.exporting import DEFAULT_FORMATS, export

        return export(self, formats=DEFAULT_FORMATS if formats is None else formats, **options)

    def explain(self, methods: str | None = None, count: int | None = None) -> dict:
        """Explains test images; see `explain.explaining.explain_run`."""
        from bone_age_tf.explain.explaining import explain_run

        return explain_run(self, methods, count)

    def data(self) -> PreparedData:
        """Returns the training and validation images."""
        return PreparedData(self.builder, self.parts)

    def network(self) -> keras.Model:
        """Loads the best checkpoint.

        Raises:
            ConfigError: there is no checkpoint yet.
        """
        path = self.workdir / "checkpoints" / "best.keras"
        if not path.exists():
            raise ConfigError(
                f"{path}: no such file; train first: "
                f"{program()} --model={self.config.model} --workdir={self.workdir}"
            )
        return _load_network(path, path.stat().st_mtime_ns)

    def training_images(self) -> int:
        """Returns the number of images in the training; for an unfinished run, in the dataset."""
        path = self.workdir / "checkpoints" / fitting.FINISHED_FILE
        record = json.loads(path.read_text()) if path.exists() else {}
        everything = pipeline.read_table(self.builder, self.parts["train"])
        return record.get(fitting.TRAINING_IMAGES, len(everything))


def begin_run(
    config: Config,
    workdir: Path | None = None,
    seed: int = 0,
    dataset: str | None = None,
    data: DataOptions | None = None,
    precision: str = "auto",
    exports_dir: Path = Path(DEFAULT_EXPORTS_DIR),
    distribution: Distribution | None = None,
) -> Run:
    """Opens the folder of a run for training, which is new or contains the same run.

    Args:
        config: the resolved config.
        workdir: the run's folder; None for a new folder under `RUNS`.
        seed: seed of every random choice.
        dataset: dataset or dataset/config; None for the dataset of the config.
        data: location of the dataset.
        precision: one of `schema.PRECISIONS`.
        exports_dir: folder of exports.
        distribution: devices and workers of the training; a worker that is not the chief needs a
            folder of its own.

    Raises:
        ConfigError: the folder contains another run, or the data or the initial weights are not
            available.
        OutputError: a folder cannot be written.
    """
    dataset, data = dataset or config.dataset, data or DataOptions()
    workdir = workdir or new_workdir(config, dataset)
    require_source(config)
    require_writable_folder(workdir)
    require_writable_folder(exports_dir)
    record: dict[str, Any] = {"dataset": dataset, "seed": seed}
    if (workdir / "config.json").exists():
        _require_same_run(workdir, config, record)
    builder, parts = prepare_parts(config, dataset, data)
    manual_dir = None if data.manual_dir is None else str(data.manual_dir)
    record |= {"manual_dir": manual_dir, "skip_bad_rows": data.skip_bad_rows}
    used = set_precision(precision, config)
    if not (workdir / "config.json").exists():
        write_json(workdir / "run.json", record)
        # Written last: it marks a complete start.
        configs.save_config(config, workdir / "config.json")
    if distribution is None or distribution.is_chief:
        print(f"{config.model} on {builder.info.full_name} in {used}; the run's folder: {workdir}")
    return Run(workdir, config, builder, parts, seed, exports_dir, distribution)


def open_run(
    workdir: Path,
    dataset: str | None = None,
    data: DataOptions | None = None,
    exports_dir: Path = Path(DEFAULT_EXPORTS_DIR),
) -> Run:
    """Opens the folder of an existing run.

    Args:
        workdir: the run's folder.
        dataset: dataset for the evaluation; None for the run's dataset.
        data: location of the dataset; values that are None are those of the run.
        exports_dir: folder of exports.

    Raises:
        ConfigError: the folder contains no run, or the data are not available.
    """
    data = data or DataOptions()
    config = configs.read_config(workdir / "config.json")
    record = json.loads((workdir / "run.json").read_text())
    manual_dir = data.manual_dir or record["manual_dir"]
    data = DataOptions(data.data_dir, manual_dir and Path(manual_dir), record["skip_bad_rows"])
    builder, parts = prepare_parts(config, dataset or record["dataset"], data)
    return Run(workdir, config, builder, parts, record["seed"], exports_dir)


def newest_run(model: str) -> Path:
    """Returns the folder of a model's newest trained run under `RUNS`.

    Raises:
        ConfigError: there is no such run.
    """
    checkpoints = sorted(
        RUNS.glob(f"{model}-*/checkpoints/best.keras"), key=lambda path: path.stat().st_mtime
    )
    if not checkpoints:
        raise ConfigError(
            f"no trained run of {model} under {RUNS}/: name one with --workdir, or train first: "
            f"{program()} --model={model}"
        )
    return checkpoints[-1].parents[1]


def new_workdir(config: Config, dataset: str) -> Path:
    """Returns the folder of a new run, named after the current time."""
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{config.model}-{dataset.replace('/', '-')}-{moment}"


def prepare_parts(
    config: Config, dataset: str, data: DataOptions
) -> tuple[tfds.core.DatasetBuilder, dict[str, pipeline.Part]]:
    """Prepares a dataset and divides it into training, validation and test parts.

    Raises:
        ConfigError: the dataset is unknown, or the location of its files is not given.
        DataError: the dataset cannot be used.
    """
    builder = prepare_dataset(
        dataset, data.data_dir, data.manual_dir, data.skip_bad_rows, data.beam_runner
    )
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    return builder, parts


def _require_same_run(workdir: Path, config: Config, record: dict) -> None:
    """Raises an error if a folder contains a run with other settings."""
    before = json.loads((workdir / "run.json").read_text())
    changed = configs.differences(configs.read_config(workdir / "config.json"), config) + [
        f"{key}: {before[key]!r} in the run, {wanted!r} asked for"
        for key, wanted in record.items()
        if before[key] != wanted
    ]
    if changed:
        raise ConfigError(
            f"{workdir} holds another run; name a new --workdir, or repeat its settings:\n  "
            + "\n  ".join(changed)
        )


@functools.lru_cache(maxsize=1)
def _load_network(path: Path, modified_ns: int) -> keras.Model:
    """Loads a checkpoint once, so that evaluation, export and explanation share traced graphs."""
    del modified_ns  # distinguishes a file from a later file with the same path
    return load_network(path)


def evaluate(current: Run) -> dict:
    """Measures the best checkpoint on the test part and writes the report."""
    part = current.parts["test"]
    predictions, table = _with_interval(current)
    training = pipeline.read_table(current.builder, current.parts["train"])
    folder = current.workdir / "evaluation"
    metrics = write_report(
        folder,
        predictions,
        constant_months=float(np.median(training.age_months)),
        title=f"{current.config.model} on {current.builder.info.full_name}, {part}",
        details={
            "dataset": current.builder.info.full_name,
            "split": str(part),
            "training images": str(current.training_images()),
            "model": current.config.model,
            "command": f"{program()} --mode=evaluate --workdir={current.workdir}",
        },
        seed=current.seed,
    )
    content = None if table is None else table.as_json()
    write_json(folder / INTERVAL_FILE, content)
    print(f"report: {folder / 'report.md'}")
    return metrics


def _with_interval(current: Run) -> tuple[Predictions, IntervalTable | None]:
    """Returns predictions of the test part with calibrated intervals, and the interval table.

    The factors are fitted to the validation part. If it is also the test part, the interval of each
    case is fitted to the other cases. With too few cases, the network's own intervals are kept.
    """
    tested = predictions_of(current)
    same = current.parts["validation"] == current.parts["test"]
    known = tested if same else predictions_of(current, "validation")
    least = MIN_CASES * FOLDS / (FOLDS - 1) if same else MIN_CASES
    if len(known) < least:
        return tested, None
    table = fit_interval(*_own_interval(known), known.age_months, known.sex)
    if same:
        lower, upper = cross_fitted_interval(*_own_interval(known), known.age_months, known.sex)
    else:
        lower, upper = table.apply(*_own_interval(tested), tested.sex)
    return dataclasses.replace(tested, lower_90=lower, upper_90=upper), table


def _own_interval(predictions: Predictions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns predicted ages and intervals, which have no width if the network has none."""
    months, lower, upper = (
        predictions.predicted_months,
        predictions.lower_90,
        predictions.upper_90,
    )
    return months, months if lower is None else lower, months if upper is None else upper


def predictions_of(current: Run, part_name: str = "test") -> Predictions:
    """Predicts a part with the best checkpoint."""
    network, part = current.network(), current.parts[part_name]
    table = pipeline.read_table(current.builder, part)
    outputs = prediction.predict(network, current.config, current.builder, part, len(table))
    interval = outputs.get(schema.INTERVAL_90)
    return Predictions(
        table.image_id,
        table.sex,
        table.age_months,
        np.ravel(outputs[schema.AGE_MONTHS]),
        None if interval is None else interval[:, 0],
        None if interval is None else interval[:, 1],
        _parts_of(outputs),
    )


def _parts_of(outputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the ages [N] in months of the whole hand and of each region alone, by name."""
    if schema.REGION_AGES not in outputs:
        return {}
    regions = dict(zip(schema.REGIONS, outputs[schema.REGION_AGES].T, strict=True))
    return {"whole hand": np.ravel(outputs[schema.GLOBAL_AGE]), **regions}


def region_norms(current: Run) -> RegionNorms | None:
    """Fits norms of the regions' bone ages to the validation part; None without such outputs."""
    network = current.network()
    if schema.REGION_AGES not in network.output:
        return None
    part = current.parts["validation"]
    table = pipeline.read_table(current.builder, part)
    outputs = prediction.predict(network, current.config, current.builder, part, len(table))
    return fit_region_norms(outputs[schema.REGION_AGES], outputs[schema.REGION_WEIGHTS], table.sex)


def familiarity(current: Run) -> Familiarity:
    """Fits the distance of unfamiliar images to features of training and held-out images."""
    network = build_features_model(current.network())
    most = current.config.familiarity_images
    features = [
        prediction.predict_features(
            network, current.config, current.builder, current.parts[name], most
        )
        for name in ("train", "validation")
    ]
    return fit_familiarity(*features)


def interval_table(current: Run) -> IntervalTable | None:
    """Reads the interval table of the evaluation; None for a run of an earlier version."""
    path = current.workdir / "evaluation" / INTERVAL_FILE
    if not path.exists():
        evaluate(current)
    content = json.loads(path.read_text())
    return None if content is None else IntervalTable.read(content)

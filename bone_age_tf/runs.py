"""A run's folder, and what its network says of the held-out images. Imports TensorFlow."""

import dataclasses
import functools
import json
from pathlib import Path

import keras
import ml_collections
import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import schema
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
from bone_age_tf.evaluation.report import write_report
from bone_age_tf.files import write_json
from bone_age_tf.models.build import build_features_model, load_network
from bone_age_tf.training import fit as fitting
from bone_age_tf.training import prediction

INTERVAL_FILE = "interval_by_age.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's folder and what is in it.

    Attributes:
        workdir: the folder.
        config: the resolved config.
        builder: of the prepared dataset.
        parts: which of it trains, validates and tests.
        seed: of every random choice.
        exports_dir: where its exports go.
    """

    workdir: Path
    config: ml_collections.ConfigDict
    builder: tfds.core.DatasetBuilder
    parts: dict[str, pipeline.Part]
    seed: int
    exports_dir: Path

    def data(self) -> PreparedData:
        """Returns the images that train and validate."""
        return PreparedData(self.builder, self.parts)

    def network(self) -> keras.Model:
        """Loads the best checkpoint.

        Raises:
            ConfigError: there is none yet.
        """
        path = self.workdir / "checkpoints" / "best.keras"
        if not path.exists():
            raise ConfigError(
                f"{path}: no such file; train first: "
                f"python run.py --model={self.config.model} --workdir={self.workdir}"
            )
        return _load_network(path, path.stat().st_mtime_ns)

    def training_images(self) -> int:
        """Returns how many images trained; of a run that is not finished, how many there are."""
        path = self.workdir / "checkpoints" / fitting.FINISHED_FILE
        record = json.loads(path.read_text()) if path.exists() else {}
        everything = pipeline.read_table(self.builder, self.parts["train"])
        return record.get(fitting.TRAINING_IMAGES, len(everything))


@functools.lru_cache(maxsize=1)
def _load_network(path: Path, modified_ns: int) -> keras.Model:
    """Loads a checkpoint once: evaluation, export and explanation of a run share what is traced."""
    del modified_ns  # tells a file from a later one at the same place
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
            "command": f"python run.py --mode=evaluate --workdir={current.workdir}",
        },
        seed=current.seed,
    )
    content = None if table is None else table.as_json()
    write_json(folder / INTERVAL_FILE, content)
    print(f"report: {folder / 'report.md'}")
    return metrics


def _with_interval(current: Run) -> tuple[Predictions, IntervalTable | None]:
    """Returns predictions of the test part with intervals that hold, and what made them hold.

    The factors come from the validation part. Where that is the test part too, each case's interval
    comes from the other cases. Too few cases leave the network's own intervals.
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
    """Returns ages and their intervals, of no width where the network has none."""
    months, lower, upper = (
        predictions.predicted_months,
        predictions.lower_90,
        predictions.upper_90,
    )
    return months, months if lower is None else lower, months if upper is None else upper


def predictions_of(current: Run, part_name: str = "test") -> Predictions:
    """Runs the best checkpoint over a part."""
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
    )


def familiarity(current: Run) -> Familiarity:
    """Measures what the best checkpoint sees in images that it knows and in held-out ones."""
    network = build_features_model(current.network())
    most = current.config.familiarity_images
    found = [
        prediction.predict_features(
            network, current.config, current.builder, current.parts[name], most
        )
        for name in ("train", "validation")
    ]
    return fit_familiarity(*found)


def interval_table(current: Run) -> IntervalTable | None:
    """Reads what the evaluation found, which a run of an earlier version has not."""
    path = current.workdir / "evaluation" / INTERVAL_FILE
    if not path.exists():
        evaluate(current)
    content = json.loads(path.read_text())
    return None if content is None else IntervalTable.read(content)

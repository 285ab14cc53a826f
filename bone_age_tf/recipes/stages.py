"""Runs the stages of a recipe, and recognises finished stages by their content.

Pure Keras: the same with every backend.
"""

import dataclasses
import datetime
import hashlib
import json
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from bone_age_tf import config as configs
from bone_age_tf.errors import ConfigError
from bone_age_tf.files import replace_file
from bone_age_tf.program import program
from bone_age_tf.recipes.recipe import Recipe, Stage
from bone_age_tf.settings import Config
from bone_age_tf.training import fit as fitting
from bone_age_tf.training.distribution import Distribution
from bone_age_tf.training.initial_weights import IMAGENET, RANDOM
from bone_age_tf.training.source import TrainingData

BEGUN_FILE, DONE_FILE, REPORT_FILE = "stage_begun.json", "stage.json", "report.md"
BEST = Path("checkpoints") / "best.keras"
_TABLES = ("leave_out", "trust")
"""Settings that name a file, whose content identifies a stage."""
_OF_EXPORTS = ("calibration_images", "familiarity_images", "parity_images")
"""Settings that do not affect the weights."""


@dataclasses.dataclass(frozen=True)
class StageRun:
    """A run of the stages of a recipe.

    Attributes:
        recipe: the recipe.
        data: its images.
        workdir: the recipe's folder, which contains a folder for each stage.
        run_record: contents of `run.json` of each stage except the seed, so that each stage is an
            ordinary run.
        overrides: the user's settings for all stages.
        precision: the number format, for the record.
        stop_at: `time.monotonic()` at which to interrupt the training; None for never.
        distribution: devices of this machine for every stage; None for one device.
    """

    recipe: Recipe
    data: TrainingData
    workdir: Path
    run_record: Mapping[str, Any]
    overrides: Sequence[tuple[str, str]] = ()
    precision: str = "float32"
    stop_at: float | None = None
    distribution: Distribution | None = None

    def folder(self, stage: Stage) -> Path:
        """Returns the folder of a stage."""
        return self.workdir / stage.name

    def run(self) -> Path:
        """Trains every stage that is not done yet; returns the folder of the last one.

        Raises:
            ConfigError: a folder contains a stage with other settings or data, or initial weights
                are missing.
            training.OutOfTimeError: `stop_at` was reached.
        """
        for number, stage in enumerate(self.recipe.stages, start=1):
            init = self._init(stage)
            config = self.recipe.config(stage, ",".join(map(str, init)), self.overrides)
            key = self._key(stage, config, init)
            title = f"stage {number} of {len(self.recipe.stages)}, {stage.name}"
            if self._is_done(stage, key):
                mae = json.loads((self.folder(stage) / DONE_FILE).read_text())["val_mae_months"]
                print(f"{title}: done, validation MAE {mae:.2f} months", flush=True)
                continue
            print(f"{title}: in {self.precision}, folder {self.folder(stage)}", flush=True)
            self._train(stage, config, key)
        self.write_report()
        return self.folder(self.recipe.stages[-1])

    def write_report(self) -> None:
        """Writes a report of the stages that are done."""
        # Not a Jinja2 template: recipes also run on machines with Keras and without that package.
        recipe = self.recipe
        lines = [
            f"# Recipe `{recipe.name}`: {recipe.model} on {recipe.dataset}\n",
            f"`{program()} --mode=recipe --recipe={recipe.name}`; the stages and their settings "
            f"are defined in `bone_age_tf/recipes/{recipe.name}.py`. The checkpoint of each stage "
            "was chosen on the validation images.\n",
            "| stage | initial weights | epochs | seed | validation MAE, months | backend | time |",
            "|---|---|---|---|---|---|---|",
        ]
        for stage in recipe.stages:
            path = self.folder(stage) / DONE_FILE
            if path.exists():
                record = json.loads(path.read_text())
                start = " and ".join(stage.after) or stage.init
                span = datetime.timedelta(seconds=round(record["seconds"]))
                lines.append(
                    f"| {stage.name} | {start} | {record['epochs']} | {stage.seed} | "
                    f"{record['val_mae_months']:.2f} | {record['backend']}, "
                    f"{record['precision']} | {span} |"
                )
        replace_file(self.workdir / REPORT_FILE, ("\n".join(lines) + "\n").encode())

    def _init(self, stage: Stage) -> list[str | Path]:
        """Returns the sources of the initial weights of a stage."""
        if stage.after:
            return [self.workdir / name / BEST for name in stage.after]
        if stage.init in (RANDOM, IMAGENET):
            return [stage.init]
        if not Path(stage.init).is_file():
            raise ConfigError(
                f"recipe {self.recipe.name}: stage {stage.name} begins from {stage.init}, which is "
                f"not there; bone_age_tf/recipes/{self.recipe.name}.py says how to get it"
            )
        return [Path(stage.init)]

    def _key(self, stage: Stage, config: Config, init: Sequence[str | Path]) -> str:
        """Returns a digest of everything that affects the result, except locations of files."""
        settings = configs.flat(config)
        for name in _OF_EXPORTS:
            settings.pop(name)
        settings["init"] = [
            _file_digest(source) if isinstance(source, Path) else source for source in init
        ]
        for name in _TABLES:
            if settings[name]:
                settings[name] = _file_digest(Path(settings[name]))
        content = {
            "settings": settings,
            "seed": stage.seed,
            "labels": labels_digest(*self.data.labels()),
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def _is_done(self, stage: Stage, key: str) -> bool:
        """Returns whether a stage is done.

        Raises:
            ConfigError: its folder contains a stage with other settings or data, or with changed
                weights.
        """
        folder = self.folder(stage)
        for name in (DONE_FILE, BEGUN_FILE):
            path = folder / name
            if not path.exists():
                continue
            record = json.loads(path.read_text())
            if record["key"] != key:
                raise ConfigError(
                    f"{folder} holds this stage from other data, settings or first weights; name "
                    "another --workdir, or delete the folder to train the stage anew"
                )
            if name == DONE_FILE:
                if _file_digest(folder / BEST) == record["weights_sha256"]:
                    return True
                raise ConfigError(
                    f"{folder / BEST} is not what the stage ended with; delete {folder} to train "
                    "it anew"
                )
        return False

    def _train(self, stage: Stage, config: Config, key: str) -> None:
        folder = self.folder(stage)
        begun = folder / BEGUN_FILE
        earlier = json.loads(begun.read_text())["seconds"] if begun.exists() else 0.0
        start = time.monotonic()
        record = dict(self.run_record) | {"seed": stage.seed}
        replace_file(folder / "run.json", (json.dumps(record, indent=2) + "\n").encode())
        configs.save_config(config, folder / "config.json")
        _write(begun, {"key": key, "seconds": earlier})
        try:
            fitting.fit(
                config,
                self.data,
                folder,
                stage.seed,
                stop_at=self.stop_at,
                distribution=self.distribution,
            )
        finally:
            seconds = earlier + time.monotonic() - start
            _write(begun, {"key": key, "seconds": seconds})
        best = folder / "checkpoints" / "best.json"
        _write(
            folder / DONE_FILE,
            {
                "key": key,
                "weights_sha256": _file_digest(folder / BEST),
                "val_mae_months": json.loads(best.read_text())["val_mae_months"],
                "epochs": config.epochs,
                "seconds": seconds,
                "backend": keras.backend.backend(),
                "precision": self.precision,
                "machine": platform.machine(),
            },
        )
        self.write_report()


def labels_digest(image_ids: Sequence[str], sex: Any, age_months: Any) -> str:
    """Returns a digest of labels that does not depend on their order.

    Args:
        image_ids: ids of the N images.
        sex: [N] codes of `schema.SEX_NAMES`.
        age_months: [N] labels in months.
    """
    rows = zip(image_ids, sex, age_months, strict=True)
    lines = sorted(f"{image_id}\t{int(code)}\t{float(age):.3f}" for image_id, code, age in rows)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write(path: Path, record: Mapping[str, Any]) -> None:
    replace_file(path, (json.dumps(record, indent=2) + "\n").encode())


def _file_digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None

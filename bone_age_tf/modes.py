"""What the modes do: train, evaluate, export, explain. Imports TensorFlow."""

import collections
import dataclasses
import datetime
import json
import shutil
import sys
from pathlib import Path

import ml_collections
import numpy as np
import tensorflow_datasets as tfds
from absl import flags, logging

from bone_age_tf import config as configs
from bone_age_tf.audit import audit_dataset
from bone_age_tf.command_flags import EXPLAINED
from bone_age_tf.commands.train_region_detector import train_and_publish
from bone_age_tf.data import packing, pipeline
from bone_age_tf.data.pack import PARTS, make_pack, write_pack
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.errors import ConfigError
from bone_age_tf.evaluation.audit_report import PAGE_FILE, SUSPECTS_FILE
from bone_age_tf.evaluation.comparison import compare, transfer_report
from bone_age_tf.evaluation.site_calibration import read_site_calibration
from bone_age_tf.evaluation.site_doubts import years_warning
from bone_age_tf.explanations import CASES_FILE, explain_input, explain_run
from bone_age_tf.exporting import export
from bone_age_tf.files import (
    replace_file,
    require_writable_file,
    require_writable_folder,
    write_json,
)
from bone_age_tf.inference.command import EXIT_OK, EXIT_SOME_FAILED
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.progress import shown
from bone_age_tf.quality import fit as film_check
from bone_age_tf.quality.checker import load_checker
from bone_age_tf.quality.network import SIZE_PX
from bone_age_tf.quality.publish import publish_film_check
from bone_age_tf.quality.samples import make_film_samples
from bone_age_tf.recipe_command import chosen_recipe
from bone_age_tf.regions.detector import load_detector
from bone_age_tf.runs import Run, evaluate, predictions_of
from bone_age_tf.training import fit as fitting
from bone_age_tf.training.initial_weights import require_source
from bone_age_tf.training.precision import set_precision

DEFAULT_DATASET = "hand_phantom"
AUDIT_MODEL = "cnn"
FILM_STEPS, FILM_TESTS, HANDS_PX = 4000, 10_000, 100
RUNS = Path("runs")


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Runs one mode and returns the exit status."""
    logging.set_verbosity(logging.ERROR)
    if values.mode == "train":
        return _train(values, overrides)
    if values.mode == "transfer_check":
        return _check_transfer(values, overrides)
    if values.mode == "train_film_check":
        return _train_film_check(values, overrides)
    if values.mode == "audit":
        return _audit(values, overrides)
    if values.mode == "pack":
        return _pack(values, overrides)
    if values.mode == "train_region_detector":
        return train_and_publish(values, overrides)
    if overrides:
        raise ConfigError(f"--config changes a new run; --mode={values.mode} takes the run's own")
    if values.mode == "explain" and values.input:
        return _explain_input(values)
    current = _open_run(values)
    require_writable_folder(current.workdir)
    if values.mode == "evaluate":
        evaluate(current)
    elif values.mode == "export":
        require_writable_folder(current.exports_dir)
        path = values.calibration
        site = None if path is None else read_site_calibration(Path(path))
        export(current, site, values.check_films, values.formats)
    else:
        explain_run(current, values.methods, values.count)
    return 0


def _train(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    dataset = values.dataset or DEFAULT_DATASET
    config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    current = _begin(values, config, Path(values.workdir or _new_workdir(config, dataset)))
    fitting.fit(config, current.data(), current.workdir, values.seed)
    return _finish(current)


def finish(values: flags.FlagValues, workdir: Path) -> int:
    """Evaluates, exports and explains a trained run, as far as that is not done yet."""
    return _finish(_open_run(values, workdir))


def _finish(current: Run) -> int:
    metrics = _once(current.workdir / "evaluation" / "metrics.json", lambda: evaluate(current))
    _once(current.workdir / "export.json", lambda: export(current))
    _once(current.workdir / "explanations" / CASES_FILE, lambda: explain_run(current))
    _say_where(current, metrics)
    return 0


def prepared_data(
    values: flags.FlagValues, config: ml_collections.ConfigDict, dataset: str
) -> PreparedData:
    """Prepares a dataset and returns its images for a training."""
    builder, parts = _prepare(config, dataset, values, values.manual_dir, values.skip_bad_rows)
    return PreparedData(builder, parts)


def _pack(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Writes the images and labels of a prepared dataset as a pack."""
    if values.recipe:
        recipe = chosen_recipe(values)
        dataset, longer_side_px, quality = recipe.dataset, recipe.pack_px, recipe.pack_quality
        config = recipe.config(recipe.stages[0], "random", overrides)
    else:
        dataset = values.dataset or DEFAULT_DATASET
        longer_side_px, quality = 0, 0
        config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    longer_side_px = longer_side_px if values.pack_px is None else values.pack_px
    quality = quality if values.pack_quality is None else values.pack_quality
    path = Path(values.output or f"{dataset.replace('/', '-')}.npz")
    require_writable_file(path)
    data = prepared_data(values, config, dataset)
    facts = {
        "dataset": data.builder.info.full_name,
        "longer_side_px": longer_side_px,
        "jpeg_quality": quality,
    }
    rows = packing.examples(data.builder, data.parts, longer_side_px, quality)
    count = packing.count(data.builder, data.parts)
    pack = make_pack(shown(rows, count, "packing"), facts)
    write_pack(path, pack, int(values.part_mb * 1e6))
    sizes = ", ".join(f"{len(pack.places(name))} {name}" for name in PARTS)
    megabytes = sum(array.nbytes for array in pack.arrays.values()) / 1e6
    print(f"{path}: {sizes}; {megabytes:.1f} MB, SHA-256 {pack.digest[:16]}")
    return 0


def _check_transfer(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains from a source and from random weights on the same budget and says which won."""
    dataset = values.dataset or DEFAULT_DATASET
    config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    if config.init == "random":
        raise ConfigError(
            "--mode=transfer_check needs a source, such as --config.init=imagenet or "
            "--config.init=runs/NAME"
        )
    workdir = Path(values.workdir or _new_workdir(config, f"transfer-{dataset}"))
    random_config = configs.without_transfer(config)
    found = {}
    for start, its_config in (("random", random_config), ("source", config)):
        current = _begin(values, its_config, workdir / start)
        fitting.fit(its_config, current.data(), current.workdir, values.seed)
        found[start] = predictions_of(current)
    comparison = compare(found["random"], found["source"], values.seed)
    report = transfer_report(comparison, config, str(current.parts["test"]), values.seed)
    write_json(workdir / "transfer.json", comparison)
    replace_file(workdir / "transfer.md", report.encode())
    print(f"{report}\nwritten: {workdir / 'transfer.md'}")
    return 0


def _audit(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Looks at every image and label of a dataset and writes what it finds."""
    dataset = values.dataset or DEFAULT_DATASET
    model = values.model if values["model"].present else AUDIT_MODEL
    config = configs.load_config(model, dataset.partition("/")[0], overrides)
    require_source(config)
    folder = Path(values.workdir or RUNS / f"audit-{dataset.replace('/', '-')}")
    require_writable_folder(folder)
    builder, parts = _prepare(config, dataset, values, values.manual_dir, values.skip_bad_rows)
    set_precision(values.precision, config)
    settings = [f"--config.{key}={text}" for key, text in overrides]
    words = ["python run.py --mode=audit", f"--model={model}", f"--dataset={dataset}"]
    command = " ".join([*words, f"--folds={values.folds}", *settings])
    suspects = audit_dataset(
        config,
        builder,
        parts,
        load_checker(values.exports_dir),
        load_detector(values.exports_dir),
        values.folds,
        folder,
        values.seed,
        command,
    )
    for split in builder.info.splits:
        ages = pipeline.read_table(builder, pipeline.Part(split)).age_months
        if warning := years_warning(ages):
            print(f"{split}: {warning}")
    print(f"suspects: {dict(collections.Counter(one.kind for one in suspects)) or 'none'}")
    print(f"report: {folder / PAGE_FILE}\nsuspects: {folder / SUSPECTS_FILE}")
    return 0


def _train_film_check(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains, measures and exports the network that checks films, from a dataset's hands."""
    if overrides:
        raise ConfigError("--config has no effect on --mode=train_film_check")
    dataset = values.dataset or DEFAULT_DATASET
    require_writable_folder(values.exports_dir)
    config = configs.load_config("cnn", dataset.partition("/")[0])  # for its cut into parts
    builder, parts = _prepare(config, dataset, values, values.manual_dir, values.skip_bad_rows)
    hands, others = (
        pipeline.read_images(builder, parts[name], HANDS_PX, "stretch")
        for name in ("train", "validation")
    )
    print(f"film_check on {builder.info.full_name}: {len(hands)} hands, {FILM_STEPS} steps")
    network = film_check.train_film_check(hands, FILM_STEPS, values.seed)
    figures = film_check.measure_film_check(network, others, FILM_TESTS, values.seed)
    random = np.random.default_rng(values.seed)
    films = make_film_samples(others, 64, SIZE_PX, random).images
    facts = {
        "data": {
            "name": builder.info.full_name,
            "train": str(parts["train"]),
            "train_images": len(hands),
            "tested_on": str(parts["validation"]),
        },
        "training": {"seed": values.seed, "steps": FILM_STEPS},
    }
    folder = publish_film_check(network, figures, facts, films, Path(values.exports_dir))
    print(json.dumps(dataclasses.asdict(figures), indent=2))
    print(f"export: {folder}")
    return 0


def _explain_input(values: flags.FlagValues) -> int:
    """Explains given images with an export; 0, or 1 where some have no answer, as predict does."""
    if values.workdir:
        raise ConfigError("--input is explained with an export: name it by --model, not --workdir")
    require_writable_folder(values.output or EXPLAINED)
    answered = explain_input(
        values.input,
        values.sex,
        Path(values.exports_dir),
        values.model if values["model"].present else None,
        Path(values.output or EXPLAINED),
        values.methods,
        values.count,
        values.check_films,
    )
    return EXIT_OK if answered else EXIT_SOME_FAILED


def _begin(values: flags.FlagValues, config: ml_collections.ConfigDict, workdir: Path) -> Run:
    """Opens the folder of a run that is to train: a new one, or one that holds the same run."""
    dataset = values.dataset or DEFAULT_DATASET
    require_source(config)
    require_writable_folder(workdir)
    require_writable_folder(values.exports_dir)
    record = {"dataset": dataset, "seed": values.seed}
    if (workdir / "config.json").exists():
        _require_same_run(workdir, config, record)
    builder, parts = _prepare(config, dataset, values, values.manual_dir, values.skip_bad_rows)
    record |= {"manual_dir": values.manual_dir, "skip_bad_rows": values.skip_bad_rows}
    precision = set_precision(values.precision, config)
    current = Run(workdir, config, builder, parts, values.seed, Path(values.exports_dir))
    _start(current, record)
    print(f"{config.model} on {builder.info.full_name} in {precision}; the run's folder: {workdir}")
    return current


def _prepare(
    config: ml_collections.ConfigDict,
    dataset: str,
    values: flags.FlagValues,
    manual_dir: str | None,
    skip_bad_rows: bool,
) -> tuple[tfds.core.DatasetBuilder, dict[str, pipeline.Part]]:
    """Prepares a dataset and says what of it trains, validates and tests."""
    builder = prepare_dataset(dataset, Path(values.data_dir), _folder(manual_dir), skip_bad_rows)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    return builder, parts


def _new_workdir(config: ml_collections.ConfigDict, dataset: str) -> Path:
    moment = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    return RUNS / f"{config.model}-{dataset.replace('/', '-')}-{moment}"


def _require_same_run(workdir: Path, config: ml_collections.ConfigDict, record: dict) -> None:
    """Checks that a folder holds the run that is asked for."""
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
    if (workdir / "explanations" / CASES_FILE).exists():
        print(f"{workdir} is finished and stays as it is; name another --workdir for a new run")


def _start(current: Run, record: dict) -> None:
    """Makes the folder of a new run; its config is written last, so that it marks a whole start."""
    if not (current.workdir / "config.json").exists():
        current.workdir.mkdir(parents=True, exist_ok=True)
        write_json(current.workdir / "run.json", record)
        configs.save_config(current.config, current.workdir / "config.json")


def _open_run(values: flags.FlagValues, workdir: Path | None = None) -> Run:
    """Opens the run in a folder, in the one that `--workdir` names, or the newest of the model."""
    if workdir is None and values.workdir:
        workdir = Path(values.workdir)
    if workdir is None:
        found = sorted(
            RUNS.glob(f"{values.model}-*/checkpoints/best.keras"),
            key=lambda path: path.stat().st_mtime,
        )
        if not found:
            raise ConfigError(
                f"no trained run of {values.model} under {RUNS}/: name one with --workdir, or "
                f"train first: python run.py --model={values.model}"
            )
        workdir = found[-1].parents[1]
        print(f"the newest run: {workdir}")
    config = configs.read_config(workdir / "config.json")
    record = json.loads((workdir / "run.json").read_text())
    builder, parts = _prepare(
        config,
        values.dataset or record["dataset"],
        values,
        values.manual_dir or record["manual_dir"],
        record["skip_bad_rows"],
    )
    return Run(workdir, config, builder, parts, record["seed"], Path(values.exports_dir))


def _once(record: Path, make) -> dict:
    """Returns what a stage of the run has recorded, or runs the stage."""
    return json.loads(record.read_text()) if record.exists() else make()


def _say_where(current: Run, metrics: dict) -> None:
    workdir, overall = current.workdir, metrics["overall"]
    mae, floor = overall["mae_months"], metrics["constant_median"]
    exported = json.loads((workdir / "export.json").read_text())["folder"]
    width = min(shutil.get_terminal_size().columns, 78)
    print("=" * width)
    print(f"{current.config.model} on {current.builder.info.full_name}, {current.parts['test']}:")
    print(
        f"  MAE {mae['value']:.1f} months (95 % interval {_ends(mae)}), n = {metrics['n']}; "
        f"a constant {floor['months']:.0f} months: {floor['mae_months']['value']:.1f}"
    )
    within = overall["within_12_months"]["value"]
    print(f"  within 12 months: {within:.0%}; bias {overall['bias_months']['value']:+.1f} months")
    print(f"run           {workdir}")
    print(f"report        {workdir / 'evaluation' / 'report.md'}")
    print(f"explanations  {workdir / 'explanations'}")
    print(f"export        {exported}")
    print(
        f"predict with  python run.py --mode=predict --model={current.config.model} "
        "--input=hand.png --sex=female"
    )
    sys.stdout.flush()


def _ends(figure: dict) -> str:
    if figure["low"] is None:
        return "not known"
    return f"{figure['low']:.1f} to {figure['high']:.1f}"


def _folder(text: str | None) -> Path | None:
    return None if text is None else Path(text)

"""What `--mode=explain` does: cases, their answers and maps, pictures, a gallery, tables.

On the test images of a run, or on given images with an export. Imports TensorFlow.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path

import keras
import ml_collections
import numpy as np

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ConfigError
from bone_age_tf.explain import methods as explaining
from bone_age_tf.explain.case import OK, ExplainedCase, choose_cases
from bone_age_tf.explain.gallery import gallery_html
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.explain.picture import draw_case
from bone_age_tf.explain.regions import shares_table, trusted
from bone_age_tf.export.keras_file import KERAS_FILE
from bone_age_tf.exporting import numbered_cases
from bone_age_tf.files import replace_file
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.prediction_table import Row, look_at, read_case
from bone_age_tf.inference.predictor import (
    METADATA_FILE,
    Predictor,
    choose_version,
)
from bone_age_tf.models.build import load_network
from bone_age_tf.progress import shown
from bone_age_tf.quality.checker import FilmChecker, load_checker
from bone_age_tf.regions.detector import RegionDetector, load_detector
from bone_age_tf.runs import Run, interval_table

GALLERY_FILE, SHARES_FILE, CASES_FILE = "index.html", "regions.csv", "cases.json"
DEFAULT_METHODS = ("smoothgrad", "saliency", "path_cam")
"""Where brightness makes the hand look older or younger, where the answer rests, and what places
are worth in months: of those that pass the sanity check of benchmarks/explanations.py the best, see
benchmarks/RESULTS.md."""
_OF_MODELS = {
    "prsnet": ("relation", "vanilla_gradients", "path_cam"),
    "vgg_residual": ("smoothgrad", "vanilla_gradients", "path_cam"),
} | dict.fromkeys(
    ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    ("smoothgrad", "saliency", "vanilla_gradients"),
)
"""The same of models on which some of `DEFAULT_METHODS` fail that check."""
RUN_CASES, MOST_CASES = 8, 1000
_IN_A_PICTURE = 3


def chosen_methods(text: str | None, network: ExplainedNetwork) -> list[str]:
    """Returns the methods that `--methods` names, by commas; `all` for every one.

    Without any, those to be believed.

    Raises:
        ConfigError: an unknown method, or one that this model does not have.
    """
    known = explaining.available(network)
    if text == "all":
        return known
    if not text:
        best = _OF_MODELS.get(network.config.model, DEFAULT_METHODS)
        return [name for name in best if name in known]
    wanted = [name.strip() for name in text.split(",")]
    for name in wanted:
        configs.require_known("method", name, explaining.METHODS)
        if name not in known:
            raise ConfigError(
                f"method {name!r} is not of {network.config.model}, which has: {', '.join(known)}"
            )
    return list(dict.fromkeys(wanted))


def explain_run(current: Run, methods: str | None = None, count: int | None = None) -> dict:
    """Explains test images of a run that span ages and sexes.

    Args:
        current: a trained run.
        methods: see `chosen_methods`.
        count: of cases; None for `RUN_CASES`.

    Returns:
        The record of the folder: image ids by picture.
    """
    config, trained = current.config, current.network()
    table = pipeline.read_table(current.builder, current.parts["test"])
    wanted = choose_cases(table.sex, table.age_months, RUN_CASES if count is None else count)
    network = ExplainedNetwork(trained, config)
    names = chosen_methods(methods, network)
    detector = load_detector(current.exports_dir)
    intervals = interval_table(current)
    cases = []
    aspect = _aspect(config.resize)
    chosen = numbered_cases(current, "test", wanted)
    for index, found in shown(chosen, len(chosen), "explaining"):
        image = found.image[..., 0]
        sex = int(table.sex[index])
        case = ExplainedCase(
            table.image_id[index], image, sex, float(table.age_months[index]), aspect=aspect
        )
        outputs = trained(
            {schema.IMAGE: image[None, ..., None], schema.SEX: np.full((1, 1), sex, np.float32)},
            training=False,
        )
        cases.append(_explained(_answered(case, outputs, intervals), network, names, detector))
    title = f"{config.model} on {current.builder.info.full_name}, {current.parts['test']}"
    return write_explanations(cases, names, current.workdir / "explanations", title)


def explain_input(
    input_path: str,
    sex: str | None,
    exports_dir: Path,
    model: str | None,
    folder: Path,
    methods: str | None = None,
    count: int | None = None,
    check_films: bool = True,
) -> bool:
    """Explains given images with an exported model.

    Args:
        input_path: an image, a folder or a CSV, see `collect_cases`.
        sex: female or male for images without one; None for both.
        exports_dir: the folder with `<model>/<version>/`.
        model: its name; None for the one that is shipped, or else the newest.
        folder: takes pictures, gallery and table.
        methods: see `chosen_methods`.
        count: the first cases alone; None for all of them.
        check_films: whether films are refused or put right first.

    Returns:
        Whether every case has an answer.

    Raises:
        ConfigError: the export has no Keras model, or there are too many cases.
        InputError: see `collect_cases`.
        ModelError: see `Predictor.load`.
    """
    listed = collect_cases(input_path, sex)[:count]
    if len(listed) > MOST_CASES:
        raise ConfigError(
            f"{len(listed)} images are more than a page can show; take the first with "
            f"--count={MOST_CASES} or name fewer"
        )
    version = choose_version(exports_dir, model)
    predictor = Predictor.load(version)
    network = ExplainedNetwork(*_exported_network(version))
    names = chosen_methods(methods, network)
    detector = load_detector(exports_dir)
    checker = load_checker(exports_dir) if check_films else None
    cases = []
    for one in shown(listed, len(listed), "explaining"):
        for case in _predicted(one, predictor, checker, check_films):
            if case.status == OK:
                case = _explained(case, network, names, detector)
            cases.append(case)
    title = f"{predictor.name} version {predictor.version} on {Path(input_path).name}"
    write_explanations(cases, names, folder, title)
    return all(case.status == OK for case in cases)


def _exported_network(version: Path) -> tuple[keras.Model, ml_collections.ConfigDict]:
    path = version / KERAS_FILE
    if not path.exists():
        raise ConfigError(
            f"{path}: no such file, so that nothing can be looked into; export the run again with: "
            f"python run.py --mode=export --model={version.absolute().parent.name}"
        )
    settings = json.loads((version / METADATA_FILE).read_text())["training"]["config"]
    return load_network(path), configs.from_flat(settings)


def _answered(case: ExplainedCase, outputs: dict, intervals) -> ExplainedCase:
    months = float(np.ravel(outputs[schema.AGE_MONTHS])[0])
    own = outputs.get(schema.INTERVAL_90)
    lower, upper = (months, months) if own is None else map(float, np.ravel(own))
    if intervals is not None:
        ends = (np.array([value]) for value in (months, lower, upper))
        lower, upper = (float(end[0]) for end in intervals.apply(*ends, np.array([case.sex])))
    distribution = outputs.get(schema.DISTRIBUTION)
    known = lower < upper
    return dataclasses.replace(
        case,
        predicted_months=months,
        lower_90=lower if known else None,
        upper_90=upper if known else None,
        distribution=None if distribution is None else np.array(distribution)[0],
    )


def _predicted(
    one: Case, predictor: Predictor, checker: FilmChecker | None, refuse_unfamiliar: bool
) -> list[ExplainedCase]:
    """Returns the case, twice where the sex is not known, with its answer or why it has none."""
    look = look_at(predictor, checker, one)
    case = ExplainedCase(
        one.image, look.image, None, one.age_months, aspect=_aspect(predictor.resize_mode)
    )
    return [_of_row(case, row) for row in read_case(predictor, one, look, refuse_unfamiliar)]


def _of_row(case: ExplainedCase, row: Row) -> ExplainedCase:
    sex = schema.SEX_NAMES.index(row.sex) if row.sex else None
    case = dataclasses.replace(case, sex=sex, status=row.status, reason=row.reason)
    said = row.prediction
    if said is None:
        return case
    return dataclasses.replace(
        case,
        predicted_months=said.age_months,
        lower_90=said.lower_90,
        upper_90=said.upper_90,
        distribution=said.distribution,
    )


def _explained(
    case: ExplainedCase,
    network: ExplainedNetwork,
    names: Sequence[str],
    detector: RegionDetector | None,
) -> ExplainedCase:
    assert case.image is not None
    images, sexes = case.image[None, ..., None], np.array([case.sex])
    maps = {name: explaining.make_maps(name, network, images, sexes)[0] for name in names}
    boxes = None
    if detector is not None:
        found = detector.find(case.image)
        boxes = trusted(found.boxes, found.scores)
    return dataclasses.replace(case, maps=maps, boxes=boxes)


def _aspect(mode: str) -> float:
    """Returns width over height at which a resized square shows a hand in its usual proportions."""
    return schema.RADIOGRAPH_ASPECT if mode == "stretch" else 1.0


def write_explanations(
    cases: Sequence[ExplainedCase], names: Sequence[str], folder: Path, title: str
) -> dict:
    """Writes a picture a case, the gallery and the table of shares by region.

    Returns:
        Image ids by picture, also written as `cases.json`, last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, rows = {}, []
    for number, case in enumerate(shown(cases, len(cases), "drawing"), start=1):
        if case.status != OK:
            continue
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(case.image_id).stem)[:60]
        path = folder / f"{number:03d}_{name}_{case.sex_name}.png"
        draw_case(case, names[:_IN_A_PICTURE], path)
        record[path.name] = case.image_id
        found = ((method, case.shares(method)) for method in names)
        rows += [
            (case.image_id, case.sex_name, method, shares)
            for method, shares in found
            if shares is not None
        ]
    if rows:
        replace_file(folder / SHARES_FILE, shares_table(rows))
    replace_file(folder / GALLERY_FILE, gallery_html(cases, names, title).encode())
    replace_file(folder / CASES_FILE, (json.dumps(record, indent=2) + "\n").encode())
    print(f"explanations: {len(record)} pictures in {folder}; all cases: {folder / GALLERY_FILE}")
    return record

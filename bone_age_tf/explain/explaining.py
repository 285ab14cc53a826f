"""Explains cases and writes their pictures, their page and the table of shares by region.

Imports TensorFlow.
"""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bone_age_tf import schema
from bone_age_tf.bundle import load_region_detector
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.explain import methods as explaining
from bone_age_tf.explain.case import OK, ExplainedCase, choose_cases
from bone_age_tf.explain.gallery import gallery_html
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.explain.picture import draw_case
from bone_age_tf.explain.regions import shares_table, trusted
from bone_age_tf.export.exporting import numbered_cases
from bone_age_tf.files import replace_file
from bone_age_tf.inference.result import Result
from bone_age_tf.models.build import model_traits
from bone_age_tf.progress import shown
from bone_age_tf.reader import Prepared
from bone_age_tf.regions import frame
from bone_age_tf.regions.detector import RegionDetector
from bone_age_tf.runs import Run, interval_table

GALLERY_FILE, SHARES_FILE, CASES_FILE = "index.html", "regions.csv", "cases.json"
DEFAULT_METHODS = ("smoothgrad", "saliency", "path_cam")
"""The best of the methods that pass the sanity check of benchmarks/explanations.py, see
benchmarks/RESULTS.md: signed and unsigned influence of the brightness, and contribution of each
place in months."""
RUN_CASES = 8
"""Default number of cases of a run."""
IN_A_PICTURE = 3
"""Maximum number of maps in a picture."""


def chosen_methods(text: str | None, network: ExplainedNetwork) -> list[str]:
    """Returns the explanation methods that `--methods` names.

    Args:
        text: names separated by commas, or `all`; the model's recommended methods if empty.
        network: the network that is explained.

    Raises:
        ConfigError: a method is unknown or not available for this model.
    """
    known = explaining.available(network)
    if text == "all":
        return known
    if not text:
        best = model_traits(network.config.model).explanations or DEFAULT_METHODS
        return [name for name in best if name in known]
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        require_known("method", name, explaining.METHODS)
        if name not in known:
            raise ConfigError(
                f"method {name!r} is not available for {network.config.model}; available: "
                f"{', '.join(known)}"
            )
    return list(dict.fromkeys(chosen))


def explain_run(current: Run, methods: str | None = None, count: int | None = None) -> dict:
    """Explains test images of a run that cover the range of ages of both sexes.

    Args:
        current: a trained run.
        methods: see `chosen_methods`.
        count: number of cases; None for `RUN_CASES`.

    Returns:
        Image ids by file name of the picture.
    """
    config, trained = current.config, current.network()
    table = pipeline.read_table(current.builder, current.parts["test"])
    places = choose_cases(table.sex, table.age_months, RUN_CASES if count is None else count)
    network = ExplainedNetwork(trained, config)
    names = chosen_methods(methods, network)
    detector = load_region_detector(current.exports_dir)
    intervals = interval_table(current)
    cases = []
    aspect = _aspect(config.resize)
    chosen = numbered_cases(current, "test", places)
    for index, test_case in shown(chosen, len(chosen), "explaining"):
        image = test_case.image[..., 0]
        sex = int(table.sex[index])
        case = ExplainedCase(
            table.image_id[index], image, sex, float(table.age_months[index]), aspect=aspect
        )
        outputs = trained(
            {schema.IMAGE: image[None, ..., None], schema.SEX: np.full((1, 1), sex, np.float32)},
            training=False,
        )
        cases.append(explained(_answered(case, outputs, intervals), network, names, detector))
    title = f"{config.model} on {current.builder.info.full_name}, {current.parts['test']}"
    return write_explanations(cases, names, current.workdir / "explanations", title)


def _answered(case: ExplainedCase, outputs: dict, intervals: Any) -> ExplainedCase:
    months = float(np.ravel(outputs[schema.AGE_MONTHS])[0])
    own_interval = outputs.get(schema.INTERVAL_90)
    lower, upper = (months, months) if own_interval is None else map(float, np.ravel(own_interval))
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


def cases_of(
    result: Result, prepared: Prepared, known_months: float | None, resize: str
) -> list[ExplainedCase]:
    """Returns the case of a result, or a case for each sex if the sex was not given.

    Args:
        result: the result of `Reader.predict`.
        prepared: the radiograph for which it was predicted.
        known_months: the known bone age in months, None if unknown.
        resize: the resize mode of its image, one of `schema.RESIZE_MODES`.
    """
    case = ExplainedCase(
        result.source,
        prepared.image,
        None if result.sex is None else schema.SEX_NAMES.index(result.sex),
        known_months,
        status=result.status,
        reason=result.note,
        aspect=_aspect(resize),
    )
    if not result.by_sex:
        return [case]
    return [
        dataclasses.replace(
            case,
            sex=schema.SEX_NAMES.index(sex),
            predicted_months=prediction.age_months,
            lower_90=prediction.interval_90_months and prediction.interval_90_months[0],
            upper_90=prediction.interval_90_months and prediction.interval_90_months[1],
            distribution=prediction.distribution,
        )
        for sex, prediction in result.by_sex.items()
    ]


def explained(
    case: ExplainedCase,
    network: ExplainedNetwork,
    names: Sequence[str],
    detector: RegionDetector | None,
) -> ExplainedCase:
    """Returns a case with its maps and, with a detector, the boxes of its regions."""
    assert case.image is not None
    images, sexes = case.image[None, ..., None], np.array([case.sex])
    maps = {name: explaining.make_maps(name, network, images, sexes)[0] for name in names}
    boxes = None
    if detector is not None:
        regions = frame.find_regions(case.image, detector)
        boxes = trusted(regions.boxes, regions.scores)
    return dataclasses.replace(case, maps=maps, boxes=boxes)


def _aspect(mode: str) -> float:
    """Returns the width over height at which a resized square has the usual proportions."""
    return schema.RADIOGRAPH_ASPECT if mode == "stretch" else 1.0


def write_explanations(
    cases: Sequence[ExplainedCase], names: Sequence[str], folder: Path, title: str
) -> dict:
    """Writes a picture of each case, the page of all cases and the table of shares by region.

    Returns:
        Image ids by file name of the picture; also written, last, to `cases.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    record, rows = {}, []
    for number, case in enumerate(shown(cases, len(cases), "drawing"), start=1):
        if case.status != OK:
            continue
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", Path(case.image_id).stem)[:60]
        path = folder / f"{number:03d}_{name}_{case.sex_name}.png"
        draw_case(case, names[:IN_A_PICTURE], path)
        record[path.name] = case.image_id
        shares_by_method = ((method, case.shares(method)) for method in names)
        rows += [
            (case.image_id, case.sex_name, method, shares)
            for method, shares in shares_by_method
            if shares is not None
        ]
    if rows:
        replace_file(folder / SHARES_FILE, shares_table(rows))
    replace_file(folder / GALLERY_FILE, gallery_html(cases, names, title).encode())
    replace_file(folder / CASES_FILE, (json.dumps(record, indent=2) + "\n").encode())
    print(f"explanations: {len(record)} pictures in {folder}; all cases: {folder / GALLERY_FILE}")
    return record

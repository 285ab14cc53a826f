"""Writes the report of an evaluation: metrics, predictions, plots and a Markdown page."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from bone_age_tf import schema, templates
from bone_age_tf.csv_text import format_csv
from bone_age_tf.evaluation import plots
from bone_age_tf.evaluation.metrics import MIN_INTERVAL_CASES, Estimate, Predictions, evaluate
from bone_age_tf.files import replace_file

METRICS_FILE: Final = "metrics.json"
PREDICTIONS_FILE: Final = "predictions.csv"
REPORT_FILE: Final = "report.md"

CSV_COLUMNS: Final = (
    schema.IMAGE_ID,
    schema.SEX,
    schema.AGE_MONTHS,
    "predicted_months",
    "error_months",
    "lower_90",
    "upper_90",
)
WORST_CASES: Final = 10
NOT_A_DEVICE: Final = (
    "This is research software and not a medical device; it must not be used to diagnose or "
    "treat anyone."
)

_PICTURES: Final = (
    ("scatter.png", "Predicted against true bone age", plots.scatter),
    ("bland_altman.png", "Bland-Altman: difference against mean", plots.bland_altman),
    ("error_by_age.png", "Error by two-year band of true age", plots.error_by_age),
)
_LABELS: Final = {
    "mae_months": "Mean absolute error (months)",
    "median_absolute_error_months": "Median absolute error (months)",
    "rmse_months": "Root mean squared error (months)",
    "bias_months": "Bias, predicted - true (months)",
    "within_6_months": "Within 6 months",
    "within_12_months": "Within 12 months",
    "within_24_months": "Within 24 months",
    "interval_90_coverage": "Coverage of the 90 % interval",
    "interval_90_width_months": "Mean width of the 90 % interval (months)",
}
_GROUP_METRICS: Final = (
    "mae_months",
    "median_absolute_error_months",
    "bias_months",
    "within_12_months",
    "interval_90_coverage",
)


def write_report(
    folder: str | Path,
    predictions: Predictions,
    constant_months: float,
    title: str,
    details: Mapping[str, str],
    seed: int = 0,
    resamples: int = 2000,
) -> dict[str, Any]:
    """Evaluates predictions and writes the report's six files into a folder.

    The files are `predictions.csv`, `scatter.png`, `bland_altman.png`, `error_by_age.png`,
    `report.md` and, written last, `metrics.json`. Each is written whole or not at all; files of an
    earlier report are replaced.

    Args:
        folder: the report's folder; it is created if necessary.
        predictions: predicted and true bone ages of all cases.
        constant_months: the median bone age of the training cases, see `evaluate`.
        title: heading of the page.
        details: rows of the table of details in this order, such as dataset, split, model and
            command. The entries `dataset` and `split` also appear in the first sentence.
        seed: seed of the bootstrap.
        resamples: number of bootstrap samples.

    Returns:
        The metrics, as `evaluate` returns them and `metrics.json` holds them.

    Raises:
        ValueError: see `evaluate`.
        OSError: the folder cannot be written.
    """
    metrics = evaluate(predictions, constant_months, seed=seed, resamples=resamples)
    contents = {name: draw(predictions) for name, _, draw in _PICTURES}
    contents[PREDICTIONS_FILE] = _predictions_csv(predictions).encode()
    contents[REPORT_FILE] = _page(metrics, predictions, title, details).encode()
    contents[METRICS_FILE] = (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode()
    for name, content in contents.items():
        replace_file(Path(folder) / name, content)
    return metrics


def _predictions_csv(predictions: Predictions) -> str:
    """Returns the cases in ascending order of their identifiers, as CSV.

    A number is written as the shortest text that is read back as the same number (`repr`); the
    cells of a missing interval are empty.
    """
    rows: list[Sequence[object]] = [CSV_COLUMNS]
    columns = (
        predictions.age_months,
        predictions.predicted_months,
        predictions.error_months,
        predictions.lower_90,
        predictions.upper_90,
    )
    for case in sorted(range(len(predictions)), key=lambda index: predictions.image_id[index]):
        rows.append(
            [predictions.image_id[case], schema.SEX_NAMES[predictions.sex[case]]]
            + ["" if column is None else repr(float(column[case])) for column in columns]
        )
    return format_csv(rows)


def _page(
    metrics: Mapping[str, Any], predictions: Predictions, title: str, details: Mapping[str, str]
) -> str:
    mae = metrics["overall"]["mae_months"]
    bands = [(_band(row), row) for row in metrics["by_age_band"]]
    overall = [(_LABELS[name], _cell(name, value)) for name, value in metrics["overall"].items()]
    tables = {
        "overall": markdown_table(("Metric", "Value (95 % interval)"), overall),
        "by_sex": _group_table("Sex", metrics["by_sex"].items()),
        "by_age": _group_table("True age (months)", bands),
        "constant": _constant_table(metrics["constant_median"]),
        "parts": _parts_table(metrics.get("parts", {})),
        "worst": _worst_table(predictions),
        "details": markdown_table(("Name", "Value"), details.items()) if details else "",
    }
    return templates.render(
        "evaluation/report.md.jinja",
        title=one_line(title),
        split=one_line(details.get("split", "")),
        dataset=one_line(details.get("dataset", "")),
        metrics=metrics,
        mae=_value("mae_months", mae),
        mae_interval=_range("mae_months", mae, "{}"),
        constant_mae=_value("mae_months", metrics["constant_median"]["mae_months"]),
        not_a_device=NOT_A_DEVICE,
        min_interval_cases=MIN_INTERVAL_CASES,
        tables=tables,
        pictures={name: caption for name, caption, _ in _PICTURES},
    )


def _constant_table(constant: Mapping[str, Any]) -> str:
    return markdown_table(
        ("Quantity", "Value (95 % interval)"),
        [
            ("Training median (months)", f"{constant['months']:.1f}"),
            ("Its mean absolute error (months)", _cell("mae_months", constant["mae_months"])),
            ("Model's error / its error", _cell("ratio", constant["ratio"])),
        ],
    )


def _parts_table(parts: Mapping[str, Mapping[str, Estimate]]) -> str:
    rows = [
        (name, _cell("mae_months", part["mae_months"]), _cell("ratio", part["ratio"]))
        for name, part in parts.items()
    ]
    headings = ("Part", _LABELS["mae_months"], "Fused answer's error / its error")
    return markdown_table(headings, rows) if rows else ""


def _group_table(heading: str, groups: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    groups = list(groups)
    names = [name for name in _GROUP_METRICS if name in groups[0][1]]
    return markdown_table(
        (heading, "n", *(_LABELS[name] for name in names)),
        [
            (label, str(group["n"]), *(_cell(name, group[name]) for name in names))
            for label, group in groups
        ],
    )


def _worst_table(predictions: Predictions) -> str:
    error = predictions.error_months
    worst = sorted(
        range(len(predictions)), key=lambda case: (-abs(error[case]), predictions.image_id[case])
    )[:WORST_CASES]
    lower, upper = predictions.lower_90, predictions.upper_90
    headings = ["Image", "Sex", "True (months)", "Predicted (months)", "Error (months)"]
    rows = [
        [
            predictions.image_id[case],
            schema.SEX_NAMES[predictions.sex[case]],
            *(
                f"{column[case]:.1f}"
                for column in (predictions.age_months, predictions.predicted_months)
            ),
            f"{error[case]:+.1f}",
        ]
        for case in worst
    ]
    if lower is not None and upper is not None:
        headings.append("90 % interval (months)")
        for row, case in zip(rows, worst, strict=True):
            row.append(f"{lower[case]:.1f} to {upper[case]:.1f}")
    return markdown_table(headings, rows)


def _band(group: Mapping[str, Any]) -> str:
    return f"{group['from_months']} to {group['to_months']}"


def _cell(name: str, estimate: Estimate) -> str:
    return _value(name, estimate) + _range(name, estimate, " ({})")


def _value(name: str, estimate: Estimate) -> str:
    value = estimate["value"]
    return "undefined" if value is None else _number(name, value) + _unit(name)


def _range(name: str, estimate: Estimate, form: str) -> str:
    low, high = estimate["low"], estimate["high"]
    if low is None or high is None:
        return ""
    return form.format(f"{_number(name, low)} to {_number(name, high)}{_unit(name)}")


def _number(name: str, value: float) -> str:
    """Formats months or a ratio with two decimals, a share in per cent with one decimal."""
    return f"{100 * value:.1f}" if _unit(name) else f"{np.round(value, 2) + 0.0:.2f}"


def _unit(name: str) -> str:
    return " %" if name.startswith("within_") or name == "interval_90_coverage" else ""


def markdown_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Returns a Markdown table; bars and line breaks inside cells are escaped."""
    # Not a template: every cell must be escaped and joined into one line, which is shorter here.
    headings = [one_line(heading) for heading in headings]
    lines = [
        headings,
        ["---"] * len(headings),
        *([one_line(cell) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def one_line(text: str) -> str:
    """Returns a text without line breaks and with escaped bars, for a cell or a heading."""
    return " ".join(str(text).split()).replace("|", "\\|")

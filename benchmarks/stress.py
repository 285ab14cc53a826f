"""Stress test: changes of the predicted bone age under transformations of the radiograph.

python benchmarks/stress.py --input=cases.csv

An export predicts each image of a table (columns image,sex,age_months) without and with 33
transformations (`bone_age_tf.evaluation.stress`). For each transformation the script prints the
change of the error, the share of cases that change by more than 12 months, and the rejections. The
quality check runs first, as in prediction; `--noquality_check` switches it off.
"""

import argparse
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bone_age_tf.evaluation.stress import STRESS, compare_answers, stress_table
from bone_age_tf.images import reading
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.radiograph import Radiograph
from bone_age_tf.reader import Reader, load


def answers(reader: Reader, cases: list[Case]) -> dict[str, np.ndarray]:
    """Returns ages [N] in months by transformation, NaN if rejected; "" for the original images."""
    by_transformation = {name: np.full(len(cases), np.nan) for name in ("", *STRESS)}
    for index, case in enumerate(tqdm(cases, unit="image", disable=None)):
        image = reading.read_radiograph(case.path)
        for name, months in by_transformation.items():
            transformed = STRESS[name][1](image) if name else image
            age = reader.read(Radiograph(transformed), case.sex).age_months
            months[index] = np.nan if age is None else age
    return by_transformation


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, help="CSV with image,sex,age_months")
    parser.add_argument("--model", help="default: the one that is shipped")
    parser.add_argument("--variant", help="default: the one that prediction takes")
    parser.add_argument("--noquality_check", action="store_true")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    options = parser.parse_args()
    cases = [
        case
        for case in collect_cases(options.input)
        if case.sex is not None and case.age_months is not None and case.problem is None
    ]
    reader = load(
        options.model,
        variant=options.variant,
        exports_dir=options.exports_dir,
        quality_check=not options.noquality_check,
    )
    by_transformation = answers(reader, cases)
    ages = np.array([case.age_months for case in cases])
    results = {
        name: compare_answers(family, by_transformation[""], by_transformation[name], ages)
        for name, (family, _) in STRESS.items()
    }
    checked = "not checked" if reader.quality_checker is None else "checked"
    print(f"{reader.model}, radiographs {checked}, n = {len(cases)}")
    print(stress_table(results))


if __name__ == "__main__":
    main()

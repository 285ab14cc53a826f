"""Does a bone age stay when the same radiograph comes turned, cropped, darker or inverted?

python benchmarks/stress.py --input=cases.csv

Runs an export on each image of a table (columns image,sex,age_months) as it is and under 33
transformations (`bone_age_tf.evaluation.stress`), and prints for each how the error changes, how
many cases move by more than 12 months and how many are refused. Films are checked first, as in
prediction, where the exports hold a film check; `--noquality_check` reads them as they are.
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
    """Returns ages [N] in months by transformation, NaN where refused; "" for none."""
    found = {name: np.full(len(cases), np.nan) for name in ("", *STRESS)}
    for index, case in enumerate(tqdm(cases, unit="image", disable=None)):
        image = reading.read_radiograph(case.path)
        for name, months in found.items():
            film = STRESS[name][1](image) if name else image
            age = reader.read(Radiograph(film), case.sex).age_months
            months[index] = np.nan if age is None else age
    return found


def main() -> None:
    """Measures and prints the table."""
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
    found = answers(reader, cases)
    ages = np.array([case.age_months for case in cases])
    results = {
        name: compare_answers(family, found[""], found[name], ages)
        for name, (family, _) in STRESS.items()
    }
    checked = "not checked" if reader.quality_checker is None else "checked"
    print(f"{reader.model}, radiographs {checked}, n = {len(cases)}")
    print(stress_table(results))


if __name__ == "__main__":
    main()

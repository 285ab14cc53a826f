"""Cases to predictions: a table with a row for each, and how many succeeded."""

import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bone_age_tf import schema
from bone_age_tf.csv_text import format_csv
from bone_age_tf.errors import PredictionError, RadiographError
from bone_age_tf.files import replace_file
from bone_age_tf.images import reading
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.predictor import Prediction, Predictor
from bone_age_tf.progress import shown
from bone_age_tf.quality.checker import FilmChecker
from bone_age_tf.reasons import TEXTS, Reason

HEADER = ("image", "sex", "bone_age_months", "lower_90", "upper_90", "status", "reason")
OK = "ok"
FAILED = "failed"
REJECTED = "rejected"
BOTH_SEXES = "sex not given: result for both sexes"

CLOSE_MONTHS = 12.0
"""An estimate at most this far from the known age counts as close."""

_MOST_WORKERS = 4
"""Each has the network in its own memory, up to 240 MB of it."""
_AHEAD = 4
"""Cases of a worker that may wait for those before them."""


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        image: the file as the user wrote it.
        sex: female, male, or empty where not known.
        prediction: the estimate, None where it failed.
        reason: why it failed or was refused, or what else to know; may be empty.
        rejected: whether the film was refused, so that it was not read.
    """

    image: str
    sex: str
    prediction: Prediction | None
    reason: str = ""
    rejected: bool = False

    @property
    def status(self) -> str:
        """Returns `OK`, `FAILED` or `REJECTED`."""
        if self.rejected:
            return REJECTED
        return FAILED if self.prediction is None else OK

    def cells(self) -> tuple[str, ...]:
        """Returns the row's texts in the order of `HEADER`."""
        numbers: tuple[float | None, ...] = (None, None, None)
        if self.prediction is not None:
            found = self.prediction
            numbers = (found.age_months, found.lower_90, found.upper_90)
        texts = ("" if number is None else f"{number:.1f}" for number in numbers)
        return (self.image, self.sex, *texts, self.status, self.reason)


@dataclass(frozen=True)
class Summary:
    """What came of a list of cases.

    Attributes:
        rows: the table, in the order of the cases; two rows for a case without a sex.
        images: number of cases.
        failed: number of cases that could not be read.
        rejected: number of cases whose film was refused.
        without_sex: number of cases with a result for either sex.
        compared: number of results with a known age and sex.
        mae_months: their mean absolute error, None where `compared` is 0.
        close_share: share of them within `CLOSE_MONTHS`, 0 to 1; None where `compared` is 0.
        known_months: the known ages, of cases with a prediction.
    """

    rows: tuple[Row, ...]
    images: int
    failed: int
    rejected: int
    without_sex: int
    compared: int
    mae_months: float | None
    close_share: float | None
    known_months: tuple[float, ...] = ()


def predict_cases(
    predictor: Predictor,
    cases: Sequence[Case],
    output_csv: str | Path | None,
    checker: FilmChecker | None = None,
    refuse_unfamiliar: bool = False,
) -> Summary:
    """Predicts every case; one that fails becomes a row with its reason and the others go on.

    A case without a sex gets two rows, one for each sex. A few threads read cases, each with the
    network to itself. Progress is shown on standard error.

    Args:
        predictor: the loaded model.
        cases: what to predict.
        output_csv: where to write the table, replaced as a whole at the end; None to not write it.
        checker: refuses films and puts them right before they are read; None reads them all.
        refuse_unfamiliar: whether films are refused that the model knows nothing like, where its
            export can tell.

    Raises:
        OSError: the table cannot be written.
    """
    return summarise(
        answer_cases(predictor, cases, checker, refuse_unfamiliar), len(cases), output_csv
    )


def summarise(
    answered: Iterable[tuple[Case, list[Row]]], count: int, output_csv: str | Path | None
) -> Summary:
    """Counts what came of each case, and writes the table at the end.

    Args:
        answered: each case with its rows.
        count: how many cases there are; the progress of more than one is shown.
        output_csv: as of `predict_cases`.

    Raises:
        OSError: the table cannot be written.
    """
    rows: list[Row] = []
    errors: list[float] = []
    known: list[float] = []
    failed = rejected = without_sex = 0
    for case, case_rows in shown(answered, count, "images read", sys.stderr):
        rows.extend(case_rows)
        prediction = case_rows[0].prediction
        if case_rows[0].rejected:
            rejected += 1
        elif prediction is None:
            failed += 1
        elif case.sex is None:
            without_sex += 1
        elif case.age_months is not None:
            errors.append(abs(prediction.age_months - case.age_months))
            known.append(case.age_months)
    if output_csv is not None:
        write_table(rows, Path(output_csv))
    return Summary(
        rows=tuple(rows),
        images=count,
        failed=failed,
        rejected=rejected,
        without_sex=without_sex,
        compared=len(errors),
        mae_months=float(np.mean(errors)) if errors else None,
        close_share=float(np.mean(np.array(errors) <= CLOSE_MONTHS)) if errors else None,
        known_months=tuple(known),
    )


def write_table(rows: Sequence[Row], path: Path) -> None:
    """Writes rows as CSV; a reader sees the old file or the whole new one, never a part.

    Raises:
        OSError: the folder or the file cannot be written.
    """
    text = format_csv([HEADER, *(row.cells() for row in rows)])
    replace_file(path, text.encode())


@dataclass(frozen=True)
class Look:
    """An image ready to be read, or why it is not.

    Attributes:
        image: [size_px, size_px] float32, None where there is none.
        reason: why, or what was put right.
        rejected: whether the film was refused; its image is not to be read.
    """

    image: np.ndarray | None
    reason: str = ""
    rejected: bool = False


def answer_cases(
    predictor: Predictor, cases: Sequence[Case], checker: FilmChecker | None, refuse: bool
) -> Iterator[tuple[Case, list[Row]]]:
    """Yields each case with its rows, in order; several are read ahead at the same time."""
    workers = min(len(cases), os.cpu_count() or 1, _MOST_WORKERS)
    own = threading.local()

    def answer(case: Case) -> list[Row]:
        if not hasattr(own, "predictor"):
            own.predictor = predictor.copy() if workers > 1 else predictor
        return read_case(own.predictor, case, look_at(own.predictor, checker, case), refuse)

    waiting: deque[tuple[Case, Future[list[Row]]]] = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for case in cases:
                waiting.append((case, pool.submit(answer, case)))
                if len(waiting) > _AHEAD * workers:
                    first, rows = waiting.popleft()
                    yield first, rows.result()
            for case, rows in waiting:
                yield case, rows.result()
        finally:  # when it was interrupted, nobody waits for what has not begun
            pool.shutdown(wait=False, cancel_futures=True)


def look_at(predictor: Predictor, checker: FilmChecker | None, case: Case) -> Look:
    """Decodes a case's film, refuses it or puts it right, and brings it to the model's size."""
    if case.problem is not None:
        return Look(None, case.problem)
    try:
        image = reading.read_radiograph(case.path, case.image)
    except RadiographError as error:
        return Look(None, error.reason)
    reason = ""
    if checker is not None:
        film = checker.look(image)
        if film.image is None:
            return Look(predictor.fit_image(image), film.reason, rejected=True)
        image, reason = film.image, film.reason
    return Look(predictor.fit_image(image), reason)


def read_case(
    predictor: Predictor, case: Case, look: Look, refuse_unfamiliar: bool = False
) -> list[Row]:
    """Returns a case's rows: for its sex, or for both; one alone where it has no prediction."""
    sex_name = "" if case.sex is None else schema.SEX_NAMES[case.sex]
    if look.image is None or look.rejected:
        return [Row(case.image, sex_name, None, look.reason, look.rejected)]
    try:
        found = [predictor.predict_fitted(look.image, sex) for sex in sexes_of(case)]
    except PredictionError as error:
        return [Row(case.image, sex_name, None, str(error))]
    rows = rows_of(case, found, look.reason)
    return _familiar(rows) if refuse_unfamiliar else rows


def sexes_of(case: Case) -> list[int]:
    """Returns the sexes to predict a case for: its own, or both where it is not known."""
    return list(range(len(schema.SEX_NAMES))) if case.sex is None else [case.sex]


def rows_of(case: Case, found: Sequence[Prediction], reason: str) -> list[Row]:
    """Returns a row for each of `sexes_of` a case, with its prediction."""
    if case.sex is None:
        reason = "; ".join(filter(None, [BOTH_SEXES, reason]))
    return [
        Row(case.image, schema.SEX_NAMES[sex], prediction, reason)
        for sex, prediction in zip(sexes_of(case), found, strict=True)
    ]


def _familiar(rows: list[Row]) -> list[Row]:
    """Returns rows without what is far from all that the model has learned from."""
    distances = [row.prediction.unfamiliarity for row in rows if row.prediction is not None]
    far = max((distance for distance in distances if distance is not None), default=0.0)
    if far <= 1:
        return rows
    reason = f"{TEXTS[Reason.UNFAMILIAR]} (distance {far:.2f}, limit 1.00)"
    first = rows[0]
    return [Row(first.image, first.sex if len(rows) == 1 else "", None, reason, rejected=True)]

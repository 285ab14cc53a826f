"""The prediction command with a server that reads the films: the same table in and out."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bone_age_tf import reasons, schema
from bone_age_tf.errors import InputError, RadiographError, ServerError
from bone_age_tf.images import reading
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.command import (
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    check_output,
    read_and_write,
    tell,
)
from bone_age_tf.inference.prediction_table import Row, rows_of, sexes_of
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.server import DEFAULT_TIMEOUT_S, Address, Server, connect

_AT_ONCE = 4
"""Requests on their way, so that the server can put them into one batch."""


def predict_on_server_command(
    input_path: str | Path,
    sex: str | None,
    server: str,
    output_csv: str | Path | None = "predictions.csv",
    timeout_s: float = DEFAULT_TIMEOUT_S,
    resume: bool = False,
) -> int:
    """Sends an image, a folder or a table to a server, prints the answer and writes it as CSV.

    Args:
        input_path: see `collect_cases`; the files are read here.
        sex: as of `predict_command`.
        server: see `Address.parse`.
        output_csv: the table to write; None for none.
        timeout_s: to wait for an answer, attempts included.
        resume: as of `predict_command`.

    Returns:
        The exit code, as of `predict_command`.
    """
    try:
        cases = collect_cases(input_path, sex)
        address = Address.parse(server)
        check_output(output_csv, input_path)
        connection = connect(address, timeout_s)
        summary = read_and_write(
            cases, lambda some: _answered(connection, some), output_csv, str(address), resume
        )
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except (InputError, ServerError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USAGE
    return tell(summary, [f"Read by {address}"], output_csv)


def _answered(server: Server, cases: Sequence[Case]) -> Iterator[tuple[Case, list[Row]]]:
    """Yields each case with its rows, in order.

    A server that gives the first film no answer, and would give none to any, ends it all.
    """
    waiting: deque[tuple[Case, Future[list[Row]]]] = deque()
    seen_one = False
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        cases_left = iter(cases)
        while True:
            for case in cases_left:
                waiting.append((case, pool.submit(_ask, server, case)))
                if len(waiting) >= 2 * _AT_ONCE:
                    break
            if not waiting:
                return
            case, future = waiting.popleft()
            try:
                rows = future.result()
                seen_one = True
            except ServerError as error:
                if error.lasting and not seen_one:
                    for _, other in waiting:
                        other.cancel()
                    raise
                rows = [Row(case.image, _sex_name(case), None, str(error))]
            yield case, rows


def _ask(server: Server, case: Case) -> list[Row]:
    """Returns the rows of a case.

    Raises:
        ServerError: no answer.
    """
    if case.problem is not None:
        return [Row(case.image, _sex_name(case), None, case.problem)]
    try:
        data = reading.read_file(case.path, case.image)
    except RadiographError as error:
        return [Row(case.image, _sex_name(case), None, error.reason)]
    found = server.ask(data, sexes_of(case))
    try:
        statuses = [text.decode() for text in found[reasons.STATUS]]
        texts = [text.decode() for text in found[reasons.REASON]]
        for status, text in zip(statuses, texts, strict=True):
            if status != reasons.OK:
                rejected = status == reasons.REJECTED
                return [Row(case.image, _sex_name(case), None, text, rejected)]
        predictions = [_prediction(found, place) for place in range(len(statuses))]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ServerError(
            f"the server's model does not answer as one of this project does "
            f"({type(error).__name__}: {error})",
            lasting=True,
        ) from None
    return rows_of(case, predictions, texts[0])


def _prediction(found: dict[str, np.ndarray], place: int) -> Prediction:
    interval = found.get(schema.INTERVAL_90)
    distribution = found.get(schema.DISTRIBUTION)
    distance = found.get(schema.UNFAMILIARITY)
    lower, upper = (None, None) if interval is None else map(float, interval[place])
    return Prediction(
        float(found[schema.AGE_MONTHS][place].item()),
        lower,
        upper,
        None if distribution is None else distribution[place],
        None if distance is None else float(distance[place].item()),
    )


def _sex_name(case: Case) -> str:
    return "" if case.sex is None else schema.SEX_NAMES[case.sex]

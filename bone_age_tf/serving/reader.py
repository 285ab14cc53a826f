"""Reads radiographs on a model server, with the same results as `bone_age_tf.reader`."""

import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import PurePosixPath

import numpy as np
from PIL import Image

from bone_age_tf import reasons, schema
from bone_age_tf.errors import RadiographError, ServerError
from bone_age_tf.images import dicom, resizing
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.known_facts import KnownFacts
from bone_age_tf.inference.predictor import Prediction
from bone_age_tf.inference.result import FAILED, OK, REJECTED, Result
from bone_age_tf.radiograph import Radiograph
from bone_age_tf.serving.connection import DEFAULT_TIMEOUT_S, Address, connect

_AT_ONCE = 4
"""Number of simultaneous requests, which the server can combine to a batch."""


class ServerReader:
    """Reads radiographs with a model that TensorFlow Serving serves.

    PNG and JPEG files are sent as they are. DICOM files are read here, and a PNG of the displayed
    image is sent; nothing else of them leaves this machine.

    Attributes:
        model: the address, which results contain as the name of the model.
    """

    def __init__(self, address: str, timeout_s: float = DEFAULT_TIMEOUT_S):
        """Prepares the connection; nothing is sent yet.

        Args:
            address: see `Address.parse`.
            timeout_s: seconds to wait for a response, including all attempts.

        Raises:
            InputError: the address is malformed.
        """
        parsed = Address.parse(address)
        self.model = str(parsed)
        self._connection = connect(parsed, timeout_s)

    def read_all(self, cases: Iterable[Case]) -> Iterator[tuple[Case, Result]]:
        """Yields each case with its result, in order; a few requests are sent at the same time.

        Raises:
            ServerError: there is no response for the first radiograph, and there would be none for
                the others.
        """
        waiting: deque[tuple[Case, Future[Result]]] = deque()
        any_response = False
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            cases_left = iter(cases)
            while True:
                for case in cases_left:
                    waiting.append((case, pool.submit(self._read, case)))
                    if len(waiting) >= 2 * _AT_ONCE:
                        break
                if not waiting:
                    return
                case, future = waiting.popleft()
                try:
                    result = future.result()
                    any_response = True
                except ServerError as error:
                    if error.lasting and not any_response:
                        for _, pending in waiting:
                            pending.cancel()
                        raise
                    result = self._failed(case, KnownFacts.given(case), str(error))
                yield case, result

    def _read(self, case: Case) -> Result:
        """Returns the result of a case.

        Raises:
            ServerError: there is no usable response.
        """
        known = KnownFacts.given(case)
        if case.problem is not None:
            return self._failed(case, known, case.problem)
        try:
            data = case.read_bytes()
            if dicom.is_dicom(data, PurePosixPath(case.member or case.path.name).suffix):
                radiograph = Radiograph.open(data, name=case.image)
                known, data = known.completed(radiograph), _png_of(radiograph)
        except RadiographError as error:
            return self._failed(case, known, error.reason)
        sexes = list(range(len(schema.SEX_NAMES)))
        if known.sex is not None:
            sexes = [schema.SEX_NAMES.index(known.sex)]
        outputs = self._connection.predict(data, sexes)
        try:
            return self._result(case, known, sexes, outputs)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ServerError(
                f"the response is not that of a model of this project "
                f"({type(error).__name__}: {error})",
                lasting=True,
            ) from None

    def _result(
        self, case: Case, known: KnownFacts, sexes: list[int], outputs: dict[str, np.ndarray]
    ) -> Result:
        statuses = [text.decode() for text in outputs[reasons.STATUS]]
        texts = [text.decode() for text in outputs[reasons.REASON]]
        for status, text in zip(statuses, texts, strict=True):
            if status != reasons.OK:
                status = REJECTED if status == reasons.REJECTED else FAILED
                return self._failed(case, known, text, status)
        by_sex = {
            schema.SEX_NAMES[sex]: _prediction(outputs, place) for place, sex in enumerate(sexes)
        }
        prefix = f"{reasons.TEXTS[reasons.Reason.CORRECTED]} "
        corrections = (texts[0].removeprefix(prefix),) if texts[0] else ()
        return self._of_case(case, known, OK, by_sex, corrections=corrections)

    def _failed(self, case: Case, known: KnownFacts, reason: str, status: str = FAILED) -> Result:
        return self._of_case(case, known, status, {}, (reason,))

    def _of_case(
        self,
        case: Case,
        known: KnownFacts,
        status: str,
        by_sex: dict[str, Prediction],
        texts: tuple[str, ...] = (),
        corrections: tuple[str, ...] = (),
    ) -> Result:
        return Result(
            case.image,
            known.sex,
            by_sex,
            status,
            texts,
            corrections,
            None,
            self.model,
            known.notes,
            known.sex_source,
            known.chronological_age_months,
            known.height_cm,
            known.side,
            known.study,
        )


def _png_of(radiograph: Radiograph) -> bytes:
    """Returns the pixels of a radiograph as an 8-bit grey PNG."""
    buffer = io.BytesIO()
    Image.fromarray(resizing.to_uint8(radiograph.pixels)).save(buffer, "PNG")
    return buffer.getvalue()


def _prediction(outputs: dict[str, np.ndarray], place: int) -> Prediction:
    interval = outputs.get(schema.INTERVAL_90)
    distribution = outputs.get(schema.DISTRIBUTION)
    distance = outputs.get(schema.UNFAMILIARITY)
    ends = None if interval is None else tuple(map(float, interval[place]))
    return Prediction(
        float(outputs[schema.AGE_MONTHS][place].item()),
        None if ends is None else (ends[0], ends[1]),
        None if distribution is None else distribution[place],
        None if distance is None else float(distance[place].item()),
    )

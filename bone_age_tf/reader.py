"""Reads radiographs: checks, corrects, predicts, and rejects with a reason. No TensorFlow."""

import contextlib
import dataclasses
import os
import queue
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from bone_age_tf import schema
from bone_age_tf.bundle import Bundle, load_quality_checker
from bone_age_tf.errors import InputError, PredictionError, RadiographError
from bone_age_tf.evaluation.site_calibration import SiteCalibration, read_site_calibration
from bone_age_tf.inference.cases import Case, collect_cases
from bone_age_tf.inference.known_facts import KnownFacts
from bone_age_tf.inference.predictor import Predictor
from bone_age_tf.inference.result import FAILED, OK, REJECTED, Result
from bone_age_tf.progress import shown
from bone_age_tf.radiograph import ARRAY, Radiograph
from bone_age_tf.reasons import NOT_FRAMED, TEXTS, WHOLE_LIMIT, Reason
from bone_age_tf.result_table import ResultTable

if TYPE_CHECKING:
    from bone_age_tf.regions.frame import Hand
    from bone_age_tf.regions.framing import HandFramer

_MOST_NETWORKS = 4
"""Maximum number of copies of the network (each up to 240 MB), and of simultaneous radiographs."""
_AHEAD = 4
"""Number of results for each copy that may be waiting for earlier results."""

Source = str | Path | bytes | np.ndarray | Radiograph | Case
_Item = TypeVar("_Item", bound=Source)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A radiograph that is ready for the network, or the reason why it is not.

    Attributes:
        source: the file as the user wrote it, or another name.
        known: what is known about the child and the radiograph.
        image: [size_px, size_px] float32, 0 to 255, as the network takes it; None where the
            radiograph cannot be read.
        status: see `Result`.
        reasons: see `Result`.
        corrections: see `Result`.
    """

    source: str
    known: KnownFacts
    image: np.ndarray | None
    status: str = OK
    reasons: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()


class Reader:
    """Reads radiographs with an exported model. For use from several threads.

    Safe by default: a quality check runs before the prediction. It rejects images that do not show
    one complete hand and corrects rotation, mirroring and inversion; images outside the
    distribution of the training images are rejected too.

    Attributes:
        bundle: the export.
        variant: which of its files is read, for instance float16.
        calibration: the site calibration that is applied to predictions, or None.
        quality_checker: the quality check, None where it is switched off or not available.
        framer: what finds the hand for a model that reads hands in their frame, else None.
        rejects_unfamiliar: whether images outside the training distribution are rejected.
    """

    def __init__(
        self,
        bundle: Bundle,
        variant: str | None = None,
        calibration: SiteCalibration | str | Path | None = None,
        quality_check: bool = True,
    ):
        """Loads the network and the quality check.

        Args:
            bundle: the export.
            variant: which of its LiteRT files; None for the most exact.
            calibration: a site calibration for this export, or its file; None for none.
            quality_check: whether radiographs are checked before they are read.

        Raises:
            ModelError: the export, the variant or the calibration cannot be used.
            CalibrationError: the file of the calibration cannot be read.
        """
        if isinstance(calibration, (str, Path)):
            calibration = read_site_calibration(Path(calibration))
        self.bundle, self.calibration = bundle, calibration
        self.variant = bundle.variant(variant)
        first = bundle.predictor(variant, calibration)
        self.quality_checker = load_quality_checker(bundle.exports_dir) if quality_check else None
        self.rejects_unfamiliar = quality_check
        self.framer = _framer(bundle)
        self._networks: queue.LifoQueue[Predictor] = queue.LifoQueue()
        self._networks.put(first)
        self._template, self._loaded, self._lock = first, 1, threading.Lock()

    @property
    def model(self) -> str:
        """Name, version and variant of the model."""
        return f"{self.bundle.name} version {self.bundle.version}, {self.variant}"

    def read(
        self,
        source: Source,
        sex: str | int | None = None,
        both_sexes: bool = False,
        chronological_age_months: float | None = None,
        height_cm: float | None = None,
    ) -> Result:
        """Reads one radiograph.

        Args:
            source: a path, the bytes of a PNG, JPEG or DICOM file, an array (see
                `Radiograph.from_array`) or a `Radiograph`.
            sex: female, male, f or m; None for the radiograph's own, or a result for both sexes
                where that is unknown too.
            both_sexes: whether there is a result for both sexes, even if the sex is known.
            chronological_age_months: the child's age in months when the radiograph was taken; None
                for that of the radiograph, if it is known. It does not change the bone age, see
                `clinical.score_result`.
            height_cm: the child's height in cm at that time, see
                `clinical.predict_adult_height_of`.

        Returns:
            The result. A file that is missing or damaged does not raise an error: its result has
            the status `failed`.

        Raises:
            InputError: the array, the sex, the age or the height cannot be used.
        """
        prepared = self.prepare(source, sex, chronological_age_months, height_cm)
        if both_sexes:
            prepared = dataclasses.replace(prepared, known=prepared.known.without_sex())
        with self._network() as network:
            return self.predict(prepared, network)

    def read_all(
        self,
        sources: Iterable[_Item],
        sex: str | int | None = None,
        both_sexes: bool = False,
    ) -> Iterator[tuple[_Item, Result]]:
        """Yields each radiograph with its result, in order; several are read at the same time.

        Args:
            sources: as of `read`, or cases of `inference.cases`.
            sex: of radiographs whose own is unknown, as of `read`.
            both_sexes: as of `read`.
        """
        workers = min(os.cpu_count() or 1, _MOST_NETWORKS)
        waiting: deque[tuple[_Item, Future[Result]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for source in sources:
                    chosen_sex = sex if getattr(source, "sex", None) is None else None
                    waiting.append((source, pool.submit(self.read, source, chosen_sex, both_sexes)))
                    if len(waiting) > _AHEAD * workers:
                        first, result = waiting.popleft()
                        yield first, result.result()
                while waiting:
                    first, result = waiting.popleft()
                    yield first, result.result()
            finally:  # after an interruption, work that has not begun is cancelled
                pool.shutdown(wait=False, cancel_futures=True)

    def read_table(
        self, table: str | Path | Sequence[Source], sex: str | None = None, progress: bool = True
    ) -> ResultTable:
        """Reads the radiographs of a CSV file, a folder or a sequence.

        Args:
            table: a CSV file with a column image and, if known, sex, age_months (the bone age),
                chronological_age_months and height_cm; a folder; an image; or a sequence of what
                `read` takes.
            sex: for radiographs without one, as of `read`.
            progress: whether progress is shown on standard error.

        Returns:
            The results in the order of the rows.

        Raises:
            InputError: there is nothing to read, or the table is malformed.
        """
        sources = collect_cases(table, sex) if isinstance(table, (str, Path)) else table
        read = self.read_all(sources, sex)
        pairs = shown(read, len(sources), "images read", sys.stderr) if progress else read
        return ResultTable.of(pairs)

    def prepare(
        self,
        source: Source,
        sex: str | int | None = None,
        chronological_age_months: float | None = None,
        height_cm: float | None = None,
    ) -> Prepared:
        """Opens, checks, corrects and resizes a radiograph; see `read`."""
        known = KnownFacts.given(source, sex, chronological_age_months, height_cm)
        if isinstance(source, Case) and source.problem is not None:
            return Prepared(source.image, known, None, FAILED, (source.problem,))
        try:
            radiograph = _opened(source)
        except RadiographError as error:
            return Prepared(_name_of(source), known, None, FAILED, (error.reason,))
        known = known.completed(radiograph)
        pixels, corrections, hand = radiograph.pixels, radiograph.corrections, None
        if self.quality_checker is not None:
            find = None if self.framer is None else self.framer.find
            checked = self.quality_checker.check(pixels, find)
            if checked.image is None:
                image = self._template.fit_image(pixels)
                return Prepared(radiograph.source, known, image, REJECTED, (checked.rejection,))
            pixels, corrections = checked.image, corrections + checked.corrections
            hand = checked.hand
        image, done = self.fit_image(pixels, hand)
        return Prepared(radiograph.source, known, image, OK, (), corrections + done)

    def fit_image(
        self, image: np.ndarray, hand: "Hand | None" = None
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Brings a corrected radiograph to the network's input.

        Args:
            image: [H, W] float32, 0 to 255.
            hand: the hand in that image, for a model that reads hands in their frame; None to find
                it.

        Returns:
            [size_px, size_px] float32, 0 to 255, and corrections, see `Result`.
        """
        if self.framer is None:
            return self._template.fit_image(image), ()
        return self.framer.fit(image, self.bundle.size_px, hand)

    def predict(self, prepared: Prepared, network: Predictor | None = None) -> Result:
        """Predicts the bone age in a prepared radiograph.

        Args:
            prepared: from `prepare`.
            network: used instead of one of the reader's own.
        """
        if network is None:
            with self._network() as borrowed:
                return self.predict(prepared, borrowed)
        by_sex, known = {}, prepared.known
        status, reasons = prepared.status, prepared.reasons
        if status == OK and prepared.image is not None:
            sexes = schema.SEX_NAMES if known.sex is None else (known.sex,)
            try:
                for sex in sexes:
                    code = schema.SEX_NAMES.index(sex)
                    by_sex[sex] = network.predict(prepared.image, code)
            except PredictionError as error:
                by_sex, status, reasons = {}, FAILED, (str(error),)
        distances = [prediction.unfamiliarity or 0.0 for prediction in by_sex.values()]
        limit = WHOLE_LIMIT if NOT_FRAMED in prepared.corrections else 1.0
        if self.rejects_unfamiliar and max(distances, default=0.0) > limit:
            far = f"distance {max(distances):.2f}, limit {limit:.2f}"
            text = f"{TEXTS[Reason.UNFAMILIAR]} ({far})"
            by_sex, status, reasons = {}, REJECTED, (text,)
        return Result(
            prepared.source,
            known.sex,
            by_sex,
            status,
            reasons,
            prepared.corrections,
            self.quality_checker is not None and prepared.image is not None,
            self.model,
            known.notes,
            known.sex_source,
            known.chronological_age_months,
            known.height_cm,
            known.side,
            known.study,
        )

    @contextlib.contextmanager
    def _network(self) -> Iterator[Predictor]:
        """Lends a copy of the network that no other thread uses, waiting for one if necessary."""
        try:
            network = self._networks.get_nowait()
        except queue.Empty:
            with self._lock:
                may_load = self._loaded < min(os.cpu_count() or 1, _MOST_NETWORKS)
                self._loaded += may_load
            network = self._template.copy() if may_load else self._networks.get()
        try:
            yield network
        finally:
            self._networks.put(network)


def load(
    model: str | Path | None = None,
    *,
    version: int | None = None,
    variant: str | None = None,
    exports_dir: str | Path | None = None,
    calibration: SiteCalibration | str | Path | None = None,
    quality_check: bool = True,
) -> Reader:
    """Returns a reader of radiographs.

    Args:
        model: the model's name; or the folder of an export; None for the shipped model.
        version: number of the export; None for the highest.
        variant: which LiteRT file of the export, such as float16; None for the most exact.
        exports_dir: the folder with `<model>/<version>/`; None for `exports` in the working
            directory, then the exports that come with the package.
        calibration: a site calibration, or its file; None for none.
        quality_check: whether radiographs are checked before they are read. Without it, images that
            show no hand get a bone age too; results say so in `quality_checked`.

    Raises:
        ModelError: there is no such export, or it cannot be used.
        CalibrationError: the calibration cannot be read.
    """
    if model is not None and (Path(model) / schema.METADATA_FILE).is_file():
        bundle = Bundle.open(model)
    else:
        bundle = Bundle.find(None if model is None else str(model), exports_dir, version)
    return Reader(bundle, variant, calibration, quality_check)


def _framer(bundle: Bundle) -> "HandFramer | None":
    if bundle.resize != schema.FRAME:
        return None
    from bone_age_tf.regions import framing  # imports OpenCV

    return framing.HandFramer(bundle.exports_dir)


def _opened(source: Source) -> Radiograph:
    if isinstance(source, Radiograph):
        return source
    if isinstance(source, Case):
        if source.member is not None:
            return Radiograph.open(source.read_bytes(), name=source.image)
        return Radiograph.open(source.path, name=source.image)
    if isinstance(source, np.ndarray):
        return Radiograph.from_array(source)
    if isinstance(source, (str, Path, bytes)):
        return Radiograph.open(source)
    raise InputError(
        f"a {type(source).__name__} is no radiograph; give a path, the bytes of a file, an array "
        "or a Radiograph"
    )


def _name_of(source: Source) -> str:
    if isinstance(source, Case):
        return source.image
    return str(source) if isinstance(source, (str, Path)) else ARRAY

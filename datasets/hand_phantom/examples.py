"""Examples of the dataset: an image and its truth, from settings, a split and a position.

Imports neither TensorFlow nor TFDS, so that the processes that draw start fast.
"""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import types
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any, Final

import cv2
import numpy as np
from tqdm import tqdm

from bone_age_tf import schema

from . import population, radiograph, truth
from .population import PhantomSettings

LATERALITY_NAMES: Final = ("left", "right")

CHUNK: Final = 16
"""Examples that a process draws at a time."""


def make_example(
    settings: PhantomSettings, split: str, index: int
) -> tuple[np.ndarray, dict[str, Any]]:
    """Makes one example; it depends on nothing but the arguments.

    A setting only affects what it describes: the same position shows the same child on the same
    film for any distribution of ages, shift or noise.

    Args:
        settings: the settings.
        split: one of `population.SPLITS`.
        index: position in the split.

    Returns:
        The image [S, S, 1] uint8, and the other features by name, as the README describes them.

    Raises:
        ValueError: no such split.
    """
    subject = population.draw_subject(settings, split, index)
    taken = radiograph.take_radiograph(
        subject.hand_age_months,
        subject.sex,
        population.random_stream(settings, split, index, population.PICTURE),
        settings.image_size_px,
        skeletal_age_months=subject.skeletal_age_months,
        hand_size_age_months=subject.size_age_months,
        variety=settings.variety,
    )
    return taken.image[:, :, None], {
        schema.IMAGE_ID: f"phantom_{split}_{index:05d}",
        schema.SEX: schema.SEX_NAMES[subject.sex],
        schema.AGE_MONTHS: np.float32(subject.age_months),
        schema.CHRONOLOGICAL_AGE_MONTHS: np.float32(subject.chronological_age_months),
        "skeletal_age_months": np.float32(subject.skeletal_age_months),
        **_truth_of(taken),
    }


def _truth_of(taken: radiograph.Radiograph) -> dict[str, Any]:
    regions = truth.region_boxes(taken.hand, taken.matrix)
    seen = truth.has_area(regions)
    carpals, carpal_labels = truth.carpal_boxes(taken.hand, taken.matrix)
    carpals_seen = truth.has_area(carpals)
    return {
        "bones": truth.bone_maturity(taken.hand)._asdict(),
        "regions": {"bbox": regions[seen], "region": np.flatnonzero(seen)},
        "carpals": {"bbox": carpals[carpals_seen], "carpal": carpal_labels[carpals_seen]},
        "landmarks": truth.landmarks(taken.hand, taken.matrix),
        "mask": taken.foreground[:, :, None],
        "laterality": LATERALITY_NAMES[taken.film.right_hand],
        "inverted": taken.film.inverted,
    }


def usable_cores() -> int:
    """Returns the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def make_examples(
    settings: PhantomSettings,
    split: str,
    processes: int | None = None,
    progress: bool = True,
    encode_png: bool = False,
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Makes all examples of a split, in order; the same whatever the number of processes.

    Args:
        settings: the settings.
        split: one of `population.SPLITS`.
        processes: how many draw at once; 1 draws in this process, and None decides by the cores
            and the number of examples.
        progress: show a bar on stderr.
        encode_png: give the image and the mask as the bytes of PNG files, made where they are
            drawn.

    Returns:
        An iterator of `make_example`'s results.

    Raises:
        ValueError: no such split, or fewer than one process.
    """
    count = settings.count(split)
    if processes is None:
        processes = min(usable_cores(), count // (4 * CHUNK))  # more would wait for their start
    elif processes < 1:
        raise ValueError(f"processes is {processes}; allowed are numbers from 1 on, and None")
    if multiprocessing.current_process().daemon:
        processes = 1  # such a process may not start others
    return _examples(settings, split, processes, progress, encode_png)


def _examples(
    settings: PhantomSettings, split: str, processes: int, progress: bool, encode_png: bool
) -> Iterator[tuple[Any, dict[str, Any]]]:
    count = settings.count(split)
    jobs = (
        (settings, split, range(start, min(start + CHUNK, count)), encode_png)
        for start in range(0, count, CHUNK)
    )
    with contextlib.ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(
                total=count,
                desc=split,
                unit=" images",
                disable=not progress,
                file=sys.stderr,
                mininterval=0.1 if sys.stderr.isatty() else 20.0,  # a log wants few lines
            )
        )
        chunks: Iterator[list[tuple[Any, dict[str, Any]]]]
        if processes <= 1 or count <= CHUNK:
            chunks = ([_made(job, index) for index in job[2]] for job in jobs)
        else:
            chunks = stack.enter_context(contextlib.closing(_pooled(jobs, processes)))
        for chunk in chunks:
            for example in chunk:
                yield example
                bar.update()


def _made(job: tuple, index: int) -> tuple[Any, dict[str, Any]]:
    settings, split, _, encode_png = job
    make = make_encoded_example if encode_png else make_example
    return make(settings, split, index)


def make_encoded_example(
    settings: PhantomSettings, split: str, index: int
) -> tuple[bytes, dict[str, Any]]:
    """Makes an example as `make_example` does, with its image and its mask as PNG files."""
    image, features = make_example(settings, split, index)
    return _png(image), {**features, "mask": _png(features["mask"])}


def _png(image: np.ndarray) -> bytes:
    good, encoded = cv2.imencode(".png", image)
    assert good
    return encoded.tobytes()


def _made_chunk(job: tuple) -> list[tuple[Any, dict[str, Any]]]:
    return [_made(job, index) for index in job[2]]


def _prepare_worker() -> None:
    cv2.setNumThreads(1)  # the processes share the cores out
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted parent ends them


def _pooled(jobs: Iterator[tuple], processes: int) -> Generator[list, None, None]:
    """Yields the chunks of jobs in order; a few wait, so that memory stays small."""
    # A process that has loaded TensorFlow must not fork.
    pool = concurrent.futures.ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _prepare_worker
    )
    try:
        with _main_module_hidden():  # the first submissions start the processes
            ahead = itertools.islice(jobs, 3 * processes)
            waiting = deque(pool.submit(_made_chunk, job) for job in ahead)
        while waiting:
            chunk = waiting.popleft().result()
            waiting.extend(pool.submit(_made_chunk, job) for job in itertools.islice(jobs, 1))
            yield chunk
    finally:
        pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keeps new processes from running the main script.

    A spawned process imports the main module, for functions that are pickled from it. Nothing of
    it is needed here, and a script without the `__main__` guard would start all over.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main

"""Reads radiographs in Apache Beam: a model handler for RunInference, and the pipeline of a folder.

The handlers run LiteRT, so that workers need no TensorFlow. A radiograph that cannot be read does
not fail its batch: it has a row with its reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from bone_age_tf.reader import Reader
from bone_age_tf.scale import storage
from bone_age_tf.scale.items import Item
from bone_age_tf.scale.parts import Output, Part, read_part, score_part
from bone_age_tf.scale.scoring import Row, Settings, reader_of, score, score_item


class RadiographHandler(ModelHandler[Any, Row, Reader]):
    """Reads radiographs with RunInference, for pipelines of your own.

    Elements are an `Item`, whose file the worker reads, or a pair of an `Item` and the bytes of its
    file. Each gives a row, see `scoring.score`.

    Args:
        settings: the model and its options.
        batch_size: largest number of elements of a batch; they are read one after another.
    """

    def __init__(self, settings: Settings | None = None, batch_size: int = 16) -> None:
        super().__init__()
        self._settings, self._batch_size = settings or Settings(), batch_size

    def load_model(self) -> Reader:
        """Returns the reader of this process.

        Raises:
            ModelError: the model cannot be used.
        """
        return reader_of(self._settings)

    def run_inference(
        self,
        batch: Sequence[Any],
        model: Reader,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[Row]:
        """Yields the row of each element of a batch, in order."""
        for element in batch:
            if isinstance(element, Item):
                yield score_item(element, self._settings)
            else:
                item, data = element
                yield score(item, data, self._settings)

    def get_metrics_namespace(self) -> str:
        """Returns the name under which Beam reports batches, bytes and latencies."""
        return "bone_age_tf"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """Returns the limits of a batch."""
        return {"max_batch_size": self._batch_size}


class PartHandler(ModelHandler[tuple[int, int], int, Reader]):
    """Reads the radiographs of parts and writes their files; gives the number of rows.

    Elements are the `places` of a `PartList`. A worker keeps the elements of all parts that it is
    given in memory, so that its memory would grow with an archive whose parts are elements.

    Args:
        settings: the model and its options.
        output: where the files are written.
        location: the file of the parts.
    """

    def __init__(self, settings: Settings, output: Output, location: str) -> None:
        super().__init__()
        self._settings, self._output, self._location = settings, output, location

    def load_model(self) -> Reader:
        """See `RadiographHandler.load_model`."""
        return reader_of(self._settings)

    def run_inference(
        self,
        batch: Sequence[tuple[int, int]],
        model: Reader,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[int]:
        """Yields the number of rows of each part, after its files are written."""
        for offset, size in batch:
            part = read_part(self._location, offset, size)
            yield score_part(part, self._settings, self._output)

    def get_metrics_namespace(self) -> str:
        """See `RadiographHandler.get_metrics_namespace`."""
        return "bone_age_tf"

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        """One part is a batch, so that its file is written as soon as it is read."""
        return {"min_batch_size": 1, "max_batch_size": 1}


def run(
    parts: Sequence[Part],
    settings: Settings,
    output: Output,
    options: Sequence[str] = (),
    runner: str | None = None,
) -> None:
    """Reads parts in a pipeline and waits for its end.

    The parts are passed in a file in the folder, which is removed afterwards.

    Args:
        parts: the parts to read.
        settings: the model and its options.
        output: where the files are written.
        options: Beam's own options.
        runner: name of Beam's runner; None for the one that the options name.

    Raises:
        OSError: the file of the parts cannot be written.
        RuntimeError: the pipeline failed, more often than its runner repeats.
    """
    pipeline = beam.Pipeline(runner=runner, options=PipelineOptions(list(options)))
    written = output.write_list(parts)
    (
        pipeline
        | "parts" >> beam.Create(written.places)
        | "spread" >> beam.Reshuffle()
        | "read radiographs" >> RunInference(PartHandler(settings, output, written.location))
    )
    try:
        pipeline.run().wait_until_finish()
    finally:
        storage.remove(written.location)

"""Explains radiographs with an exported model.

Imports TensorFlow.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from bone_age_tf.bundle import load_region_detector
from bone_age_tf.config import from_flat
from bone_age_tf.explain import explaining
from bone_age_tf.explain.case import OK, ExplainedCase
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.explain.picture import draw_case
from bone_age_tf.inference.cases import Case
from bone_age_tf.models.build import load_network
from bone_age_tf.reader import Reader


class Explainer:
    """Explains what a reader's model reads.

    Attributes:
        names: names of the explanation methods.
    """

    def __init__(self, reader: Reader, methods: str | None = None) -> None:
        """Loads the model's network and the region detector.

        Args:
            reader: reads the radiographs.
            methods: see `explaining.chosen_methods`.

        Raises:
            ConfigError: a method is unknown or not available for this model.
            ModelError: the export holds no Keras network.
        """
        bundle = reader.bundle
        self._reader = reader
        self._network = ExplainedNetwork(
            load_network(bundle.keras_file), from_flat(bundle.settings)
        )
        self._detector = load_region_detector(bundle.exports_dir)
        self.names: Sequence[str] = explaining.chosen_methods(methods, self._network)

    def explain(self, case: Case) -> list[ExplainedCase]:
        """Returns the explanation of a radiograph, one for each sex if the sex is not known.

        A radiograph without a prediction has its reason and no maps.
        """
        prepared = self._reader.prepare(case)
        result = self._reader.predict(prepared)
        resize = self._reader.bundle.resize
        return [
            found
            if found.predicted_months is None
            else explaining.explained(found, self._network, self.names, self._detector)
            for found in explaining.cases_of(result, prepared, case.age_months, resize)
        ]

    def draw(self, case: Case) -> np.ndarray | None:
        """Returns the pictures of a radiograph, one below the other, [H, W, 3] uint8.

        None if there is no prediction.
        """
        pictures = [
            self._picture(explained) for explained in self.explain(case) if explained.status == OK
        ]
        return np.concatenate(pictures) if pictures else None

    def _picture(self, explained: ExplainedCase) -> np.ndarray:
        file = io.BytesIO()
        draw_case(explained, self.names[: explaining.IN_A_PICTURE], file)
        return np.asarray(Image.open(file).convert("RGB"))

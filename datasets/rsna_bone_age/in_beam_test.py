"""Apache Beam prepares the same dataset."""

import numpy as np
import tensorflow_datasets as tfds
from bone_age_datasets.rsna_bone_age.rsna_bone_age_dataset_builder_test import write_train

from bone_age_tf.prepare import prepare_dataset


def test_beam_writes_the_same_examples_in_the_same_order(tmp_path):
    write_train(tmp_path / "files", range(1377, 1387))
    plain, in_beam = (
        prepare_dataset("rsna_bone_age", tmp_path / name, tmp_path / "files", beam_runner=runner)
        for name, runner in (("plain", None), ("beam", "DirectRunner"))
    )
    pairs = zip(
        tfds.as_numpy(plain.as_dataset("train")),
        tfds.as_numpy(in_beam.as_dataset("train")),
        strict=True,
    )
    ids = []
    for one, other in pairs:
        ids.append(one["image_id"])
        assert one["image_id"] == other["image_id"]
        assert (one["sex"], one["age_months"]) == (other["sex"], other["age_months"])
        np.testing.assert_array_equal(one["image"], other["image"])
    assert len(set(ids)) == 10

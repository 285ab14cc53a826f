import gc
from collections import Counter

import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.data.pipeline import Part


def ages(dataset):
    return [float(age) for _, batch in dataset.as_numpy_iterator() for age in batch[:, 0]]


def training(phantoms, seed=0, steps=12, **options):
    dataset = pipeline.make_training_dataset(
        phantoms, Part("train"), 16, "pad", 8, seed, examples=48, **options
    )
    return ages(dataset.take(steps))


def test_evaluation_sees_each_example_once_in_the_order_of_the_table(phantoms):
    table = pipeline.read_table(phantoms, Part("train"))
    dataset = pipeline.make_evaluation_dataset(phantoms, Part("train"), 16, "pad", 7, len(table))
    assert len(table) == 48
    assert ages(dataset) == table.age_months.tolist()
    sizes = [len(age) for _, age in dataset.as_numpy_iterator()]
    assert sizes == [7] * 6 + [6]
    assert len(dataset) == 7


def test_evaluation_shards_share_the_examples_out(phantoms):
    table = pipeline.read_table(phantoms, Part("train"))
    seen = []
    for worker in range(5):
        seen += ages(
            pipeline.make_evaluation_dataset(
                phantoms, Part("train"), 16, "pad", 4, 48, shard=(worker, 5)
            )
        )
    assert Counter(seen) == Counter(table.age_months.tolist())


def test_a_wrong_count_of_examples_is_noticed(phantoms):
    dataset = pipeline.make_evaluation_dataset(phantoms, Part("train"), 16, "pad", 7, 40)
    with pytest.raises(Exception, match="expected to contain"):
        ages(dataset)


def test_each_pass_of_training_sees_each_example_once(phantoms):
    table = Counter(pipeline.read_table(phantoms, Part("train")).age_months.tolist())
    seen = training(phantoms)
    assert Counter(seen[:48]) == table
    assert Counter(seen[48:]) == table
    assert seen[:48] != seen[48:]


def test_the_seed_decides_the_order(phantoms):
    assert training(phantoms) == training(phantoms)
    assert training(phantoms) != training(phantoms, seed=1)


def test_a_resumed_run_sees_what_it_would_have_seen(phantoms):
    assert training(phantoms, start_step=5, steps=7) == training(phantoms)[40:]


def test_training_images_come_as_they_are_without_augmentation(phantoms):
    def by_age(dataset):
        return {
            float(age): image
            for inputs, batch in dataset.as_numpy_iterator()
            for image, age in zip(inputs["image"], batch[:, 0], strict=True)
        }

    plain = by_age(pipeline.make_evaluation_dataset(phantoms, Part("train"), 16, "pad", 8, 48))
    dataset = pipeline.make_training_dataset(phantoms, Part("train"), 16, "pad", 8, 0, 48)
    for passes in (dataset.take(6), dataset.skip(6).take(6)):
        seen = by_age(passes)
        assert seen.keys() == plain.keys()
        for age, image in seen.items():
            np.testing.assert_array_equal(image, np.round(plain[age]))


def test_training_shards_are_disjoint(phantoms):
    first = set(training(phantoms, steps=3, shard=(0, 2)))
    second = set(training(phantoms, steps=3, shard=(1, 2)))
    assert len(first) == len(second) == 24
    assert not first & second


def test_inputs_have_the_schema(phantoms):
    dataset = pipeline.make_evaluation_dataset(phantoms, Part("test"), 24, "pad", 4, 16)
    inputs, age = next(dataset.as_numpy_iterator())
    assert inputs["image"].shape == (4, 24, 24, 1)
    assert inputs["image"].dtype == inputs["sex"].dtype == age.dtype == np.float32
    assert inputs["sex"].shape == age.shape == (4, 1)
    assert 0 <= inputs["image"].min() < inputs["image"].max() <= 255
    assert set(inputs["sex"].ravel()) <= {0.0, 1.0}


def test_stages_shrink_the_batches_from_their_step_on(phantoms):
    def sides(start_step):
        dataset = pipeline.make_training_dataset(
            phantoms,
            Part("train"),
            32,
            "pad",
            8,
            0,
            examples=48,
            start_step=start_step,
            stages=[(0, 16), (3, 24), (5, 32)],
        )
        return [inputs["image"].shape[1] for inputs, _ in dataset.take(6).as_numpy_iterator()]

    assert sides(0) == [16, 16, 16, 24, 24, 32]
    assert sides(4) == [24, 32, 32, 32, 32, 32]


def test_the_cut_by_id_is_disjoint_complete_and_does_not_move(phantoms):
    whole = pipeline.read_table(phantoms, Part("train")).image_id
    kept = pipeline.read_table(phantoms, Part("train", 0.3)).image_id
    held = pipeline.read_table(phantoms, Part("train", 0.3, held_out=True)).image_id
    assert sorted(kept + held) == sorted(whole)
    assert 0 < len(held) < len(kept)
    assert set(held) <= set(
        pipeline.read_table(phantoms, Part("train", 0.6, held_out=True)).image_id
    )


def test_parts_follow_the_splits_there_are():
    parts = pipeline.choose_parts(["train", "validation", "test"], 0.1, True)
    assert [str(parts[name]) for name in ("train", "validation", "test")] == [
        "train",
        "validation",
        "test",
    ]
    parts = pipeline.choose_parts(["train", "validation"], 0.1, False)
    assert parts["test"] == parts["validation"] == Part("train", 0.1, held_out=True)
    assert str(parts["train"]) == "90% of train, cut by id"
    with pytest.raises(ValueError, match="no train split, only test"):
        pipeline.choose_parts(["test"], 0.1, True)
    with pytest.raises(ValueError, match=r"holdout_fraction=0\.1"):
        pipeline.choose_parts(["train"], 0.0, True)


def test_the_search_for_hands_outlives_what_it_was_traced_with(phantoms):
    """A graph does not keep the variables of the region detector."""
    trace = pipeline.traced_decoding.__wrapped__
    found = [trace(size_px, schema.FRAME) for size_px in (16, 24, 32)]
    gc.collect()
    row = next(iter(pipeline.read_encoded(phantoms, pipeline.Part("test"))))
    assert found[0](row[schema.IMAGE]).shape == (16, 16, 1)

import csv
import json

import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf import runs
from bone_age_tf.data import pipeline
from bone_age_tf.data.label_trust import balance_weights, read_label_trust, require_named
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.errors import ConfigError
from bone_age_tf.training import fit as fitting

TRAIN = pipeline.Part("train")


def written(path, text):
    path.write_text(text)
    return str(path)


def config_with(**tables):
    config = configs.base_config()
    config.update(tables)
    return config


def test_without_tables_every_label_counts():
    assert read_label_trust(config_with()) == {}


def test_left_out_beats_trusted(tmp_path):
    trust = written(tmp_path / "trust.csv", "image_id,trust\na,0.5\nb,1\n")
    leave_out = written(tmp_path / "out.csv", "image_id,why\na,dark\nc,blank\n")
    found = read_label_trust(config_with(trust=trust, leave_out=leave_out))
    assert found == {"a": 0.0, "b": 1.0, "c": 0.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,trust\na,1.2\n", r"trust.csv:2: trust is '1.2'; write 0 to 1"),
        ("image_id,trust\na,1\nb,much\n", r"trust.csv:3: trust is 'much'"),
        ("name,trust\na,1\n", r"no column 'image_id'; its columns are: name, trust"),
        ("image_id,trust\n", "has no rows"),
    ],
)
def test_a_wrong_table_is_told(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_label_trust(config_with(trust=written(tmp_path / "trust.csv", text)))


def test_a_missing_table_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"--config.leave_out=.*gone.csv: No such file"):
        read_label_trust(config_with(leave_out=str(tmp_path / "gone.csv")))


def test_tables_of_another_dataset_are_refused():
    require_named({}, ["a"])
    require_named({"a": 0.0}, ["a"])
    with pytest.raises(ConfigError, match="none of the 1 image ids"):
        require_named({"b": 0.0}, ["a"])


def test_training_sees_what_is_trusted_with_its_weight(phantoms):
    table = pipeline.read_table(phantoms, TRAIN)
    trust = dict.fromkeys(table.image_id[:40], 0.0) | {table.image_id[40]: 0.25}
    batches = pipeline.make_training_dataset(
        phantoms, TRAIN, 32, "pad", 8, 0, 8, stages=[(0, 24), (1, 32)], trust=trust
    )
    for _, age, weight in batches.take(3):
        np.testing.assert_allclose(sorted(age[:, 0]), sorted(table.age_months[40:]))
        place = int(np.argmin(weight))
        assert weight[place] == 0.25
        assert age[place, 0] == table.age_months[40]
        assert np.sum(weight == 1) == 7


def test_rare_ages_of_a_sex_weigh_more():
    sex = np.array([0, 0, 0, 0, 1, 0])
    ages = np.array([100.0, 101, 102, 103, 100, 30])
    names = list("abcdef")
    assert set(balance_weights(names, sex, ages, 0.0).values()) == {1.0}
    found = balance_weights(names, sex, ages, 1.0)
    assert found["e"] == pytest.approx(4 * found["a"])  # a boy of that age, and
    assert found["f"] == pytest.approx(4 * found["a"])  # a girl of another
    assert np.mean(list(found.values())) == pytest.approx(1)
    half = balance_weights(names, sex, ages, 0.5)
    assert half["e"] == pytest.approx(2 * half["a"])
    rare = balance_weights([str(i) for i in range(1001)], np.zeros(1001, int),
                           np.r_[np.full(1000, 100.0), 30], 1.0)  # fmt: skip
    assert rare["1000"] == 5


def test_a_run_trains_with_balance_and_mixed_ages(phantoms, tiny_config, tmp_path):
    tiny_config.update(balance=0.5, epochs=1)
    tiny_config.augmentation.update(mixup=0.5, grey_match=0.5)
    parts = pipeline.choose_parts(list(phantoms.info.splits), 0.1, True)
    assert fitting.fit(tiny_config, PreparedData(phantoms, parts), tmp_path, 0).exists()


@pytest.mark.slow
def test_a_run_trains_on_what_is_left_and_validates_on_all(tiny_config, phantoms, tmp_path, eager):
    """An audit's tables may name held-out images too; figures are measured on all of them.

    Images are paired in this run, and ages balanced, too.
    """
    parts = pipeline.choose_parts(["train"], 0.3, use_validation_split=False)
    train, held_out = (
        pipeline.read_table(phantoms, parts[name]) for name in ("train", "validation")
    )
    left_out = [*held_out.image_id, *train.image_id[:10]]
    lines = "".join(f"{name},0.1\n" for name in held_out.image_id)
    with tiny_config.unlocked():
        tiny_config.update(balance=0.5, epochs=1)
        tiny_config.augmentation.update(pairing=0.5, grey_match=0.5)
        tiny_config.leave_out = written(tmp_path / "out.csv", "\n".join(["image_id", *left_out]))
        tiny_config.trust = written(tmp_path / "trust.csv", f"image_id,trust\n{lines}")
    data = PreparedData(phantoms, parts)
    assert data.training_ids(tiny_config) == train.image_id[10:]
    fitting.fit(tiny_config, data, tmp_path / "run", 0)
    record = json.loads((tmp_path / "run" / "checkpoints" / "finished.json").read_text())
    left = len(train.image_id) - 10
    assert record["training_images"] == left
    assert record["steps"] == left // tiny_config.batch_size
    current = runs.Run(tmp_path / "run", tiny_config, phantoms, parts, 0, tmp_path / "exports")
    predictions = runs.predictions_of(current, "validation")
    assert list(predictions.image_id) == held_out.image_id
    np.testing.assert_array_equal(predictions.age_months, held_out.age_months)
    error = np.abs(predictions.predicted_months - held_out.age_months).mean()
    with (tmp_path / "run" / "log.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["val_age_months_mae"]) == pytest.approx(error, rel=1e-4)

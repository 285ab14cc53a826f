"""What a run says of the held-out images."""

import json

import keras
import numpy as np
import pytest

from bone_age_tf import runs, schema
from bone_age_tf.data import pipeline
from bone_age_tf.evaluation.interval import IntervalTable
from bone_age_tf.models.build import build_model


@pytest.fixture
def run(tiny_config, phantoms, tmp_path):
    parts = pipeline.choose_parts(list(phantoms.info.splits), 0.1, True)
    (tmp_path / "checkpoints").mkdir()
    keras.utils.set_random_seed(0)
    build_model(tiny_config).save(tmp_path / "checkpoints" / "best.keras")
    return runs.Run(tmp_path, tiny_config, phantoms, parts, 0, tmp_path / "exports")


def test_intervals_come_from_the_validation_part(run):
    metrics = runs.evaluate(run)
    table = runs.interval_table(run)
    assert table.cases == 16
    known = runs.predictions_of(run, "validation")
    tested = runs.predictions_of(run)
    lower, upper = table.apply(
        tested.predicted_months, tested.lower_90, tested.upper_90, tested.sex
    )
    expected = np.mean((lower <= tested.age_months) & (tested.age_months <= upper))
    assert metrics["overall"]["interval_90_coverage"]["value"] == pytest.approx(expected)
    assert set(known.image_id).isdisjoint(tested.image_id)


def test_where_validation_is_the_test_each_case_has_its_interval_from_others(run, monkeypatch):
    same = {**run.parts, "test": run.parts["validation"]}
    current = runs.dataclasses.replace(run, parts=same)
    runs.evaluate(current)
    seen = []
    monkeypatch.setattr(
        runs, "cross_fitted_interval", lambda *columns: seen.append(columns) or (columns[1],) * 2
    )
    metrics = runs.evaluate(current)
    assert len(seen) == 1
    assert metrics["overall"]["interval_90_width_months"]["value"] == 0


def test_few_cases_leave_the_networks_own_interval(run, monkeypatch):
    monkeypatch.setattr(runs, "MIN_CASES", 100)
    metrics = runs.evaluate(run)
    own = runs.predictions_of(run)
    width = metrics["overall"]["interval_90_width_months"]["value"]
    assert width == pytest.approx(np.mean(own.upper_90 - own.lower_90), rel=1e-4)
    assert runs.interval_table(run) is None


def test_a_run_without_the_file_is_measured_first(run):
    assert runs.interval_table(run).cases == 16
    path = run.workdir / "evaluation" / runs.INTERVAL_FILE
    assert IntervalTable.read(json.loads(path.read_text())) == runs.interval_table(run)


def test_parts_that_are_fused_are_measured_alone(run, monkeypatch):
    ages = np.arange(17) + np.zeros((len(runs.predictions_of(run)), 1))
    predict = runs.prediction.predict
    fused = {schema.REGION_AGES: ages, schema.GLOBAL_AGE: ages[:, :1] + 100}
    monkeypatch.setattr(runs.prediction, "predict", lambda *given: predict(*given) | fused)
    parts = runs.predictions_of(run).parts_months
    assert list(parts) == ["whole hand", *schema.REGIONS]
    assert set(parts["whole hand"]) == {100.0}
    assert [set(parts[name]) for name in schema.REGIONS] == [{float(place)} for place in range(17)]

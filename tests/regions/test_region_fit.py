import keras
import numpy as np
import pytest

from bone_age_tf import schema
from bone_age_tf.regions import fit as training
from bone_age_tf.regions import network as models
from bone_age_tf.regions.boxes import RegionImages
from made_up_hand import made_up_hand


def hands(count=3, value=90):
    centres = (0.3 * made_up_hand() + [10, 0])[:, ::-1] / 128
    boxes = np.concatenate([centres - 0.04, centres + 0.04], axis=1).astype(np.float32)
    boxes = np.tile(boxes, (count, 1, 1))
    images = np.random.default_rng(value).integers(0, value, (count, 128, 128)).astype(np.uint8)
    return RegionImages([f"h{i}" for i in range(count)], images, boxes)


def said(boxes, scores=0.5, peak=None):
    side = models.SIZE_PX // models.STRIDE
    heat = np.zeros((len(boxes), side * side, 17), np.float32)
    if peak is not None:
        heat[:, peak] = 20
    return {
        schema.REGION_BOXES: keras.ops.convert_to_tensor(boxes),
        schema.REGION_SCORES: keras.ops.full(boxes.shape[:2], scores),
        models.HEATMAPS: keras.ops.convert_to_tensor(heat),
    }


def losses(boxes, *args, gone=(), **kwargs):
    shown = np.ones((*boxes.shape[:2], 1), np.float32)
    shown[:, list(gone)] = 0
    truth = keras.ops.convert_to_tensor(np.concatenate([boxes, shown], axis=-1))
    found = training.detection_losses(truth, said(*args, **kwargs))
    return {name: float(value) for name, value in found.items()}


def test_the_right_answer_costs_least():
    truth = hands(2).boxes
    right = losses(truth, truth)
    assert right["centre"] == pytest.approx(0, abs=1e-5)
    assert right["side"] == pytest.approx(0, abs=1e-5)
    assert right["overlap"] == pytest.approx(0, abs=1e-5)
    off = losses(truth, truth + np.float32(0.05))
    assert off["centre"] == pytest.approx(1.25, rel=1e-4)  # 5/8 of each side
    assert off["overlap"] == pytest.approx(1 - 9 / (128 - 9), rel=1e-3)
    assert losses(truth, truth, scores=0.99)["score"] < right["score"]
    side = models.SIZE_PX // models.STRIDE
    one = np.tile(truth[:, :1], (1, 17, 1))
    y, x = (one[0, 0, :2] + 0.04) * side
    there = int(y) * side + int(x)
    assert losses(one, one, peak=there)["heat"] < losses(one, one, peak=0)["heat"]


def test_what_is_not_there_counts_for_its_score_alone():
    truth = hands(2).boxes.copy()
    boxes = truth.copy()
    truth[:, 3] = np.nan
    boxes[:, 3] = [0, 0, 1, 1]
    found = losses(truth, boxes)
    assert found["overlap"] == pytest.approx(0, abs=1e-5)
    assert np.isfinite(list(found.values())).all()
    sure = np.full((2, 17), 0.99, np.float32)
    unsure = sure.copy()
    unsure[:, 3] = 0.01
    assert losses(truth, boxes, scores=unsure)["score"] < losses(truth, boxes, scores=sure)["score"]


def test_what_is_gone_is_placed_where_it_was_with_a_score_of_0():
    truth = hands(2).boxes
    off = truth.copy()
    off[:, 3] += np.float32(0.05)
    for name in ("centre", "overlap"):
        assert losses(truth, off, gone=[3])[name] == losses(truth, off)[name]
    sure, unsure = np.full((2, 17), 0.99, np.float32), np.full((2, 17), 0.99, np.float32)
    unsure[:, 3] = 0.01
    scores = {
        name: losses(truth, truth, scores=score, gone=[3])["score"]
        for name, score in (("sure", sure), ("unsure", unsure))
    }
    assert scores["unsure"] < scores["sure"]
    assert losses(truth, truth, scores=sure)["score"] < losses(truth, truth, scores=unsure)["score"]


def test_batches_mix_their_sets_and_repeat():
    batches = training.RegionBatches([hands(), hands(value=200)], [0.25, 0.75], 2, seed=1)
    assert len(batches) == 2
    assert list(batches.counts) == [8, 24]
    images, truth = batches[1]
    assert images.shape == (training.BATCH, 128, 128, 1)
    assert truth.shape == (training.BATCH, 17, 5)
    np.testing.assert_array_equal(images, batches[1][0])
    assert not np.array_equal(images, batches[0][0])


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_training_goes_on_from_the_stage_that_is_done(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(training, "BATCH", 4)
    first = training.train_region_detector(hands(), None, (2, 0, 0), 0, tmp_path)
    assert (tmp_path / "phantoms.weights.h5").exists()
    again = training.train_region_detector(hands(), hands(), (2, 2, 0), 0, tmp_path)
    assert "is there already" in capsys.readouterr().out
    assert (tmp_path / "annotated.weights.h5").exists()
    changed = [
        not np.allclose(a, b) for a, b in zip(first.get_weights(), again.get_weights(), strict=True)
    ]
    assert np.mean(changed) > 0.8


@pytest.mark.slow
@pytest.mark.usefixtures("eager")
def test_an_interrupted_stage_ends_as_an_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "EPOCH", 1)
    sets, labelled = (hands(), hands(value=200), (0, 2, 1), 0), hands(value=120)
    whole = training.train_region_detector(*sets, tmp_path / "a", labelled)
    fit, calls = training.DetectorInTraining.fit, []

    def killed(model, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit(model, *args, **kwargs)

    monkeypatch.setattr(training.DetectorInTraining, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        training.train_region_detector(*sets, tmp_path / "b", labelled)
    again = training.train_region_detector(*sets, tmp_path / "b", labelled)
    assert len(calls) == 4
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == ["last.weights.h5", "radiographs.weights.h5"]
    off = [
        abs(a - b).ravel() for a, b in zip(whole.get_weights(), again.get_weights(), strict=True)
    ]
    assert np.concatenate(off).mean() < 1e-5  # other batches: 1e-3

import csv
import json
import subprocess
import sys

import keras
import numpy as np
import pytest

from bone_age_tf import config as configs
from bone_age_tf.data import pack, packing, pipeline
from bone_age_tf.data.augmentation import build_augmentation
from bone_age_tf.data.packed import PackedData
from bone_age_tf.data.prepared import PreparedData
from bone_age_tf.errors import TrainingDivergedError
from bone_age_tf.models.build import build_model
from bone_age_tf.training import checkpoints, precision, prediction
from bone_age_tf.training import fit as fitting
from bone_age_tf.training.augmented import AugmentedModel
from bone_age_tf.training.losses import build_losses


def parts_of(builder):
    return pipeline.choose_parts(list(builder.info.splits), 0.1, True)


def fit(config, phantoms, folder, seed=0):
    return fitting.fit(config, PreparedData(phantoms, parts_of(phantoms)), folder, seed)


def log_of(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def weights_of(path):
    return keras.saving.load_model(path, compile=False).get_weights()


def test_no_epochs_keep_the_first_weights(tiny_config, phantoms, tmp_path):
    source = build_model(tiny_config)
    source.save(tmp_path / "first.keras")
    with tiny_config.unlocked():
        tiny_config.update(epochs=0, init=str(tmp_path / "first.keras"))
    best = fit(tiny_config, phantoms, tmp_path / "run")
    for ours, theirs in zip(weights_of(best), source.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert weights_of(tmp_path / "run" / "checkpoints" / "last.keras")


def test_augmentation_is_in_training_alone(tiny_config):
    network = build_model(tiny_config)
    model = AugmentedModel(
        network, build_augmentation(tiny_config.augmentation, 0), ("age_months",)
    )
    model.build()
    inputs = {
        "image": np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 1)).astype(np.float32),
        "sex": np.zeros((2, 1), np.float32),
    }
    seen = []
    network.layers[1].call = _spy(network.get_layer("percentile_stretch"), seen)
    model(inputs, training=True)
    assert np.abs(seen[-1] - inputs["image"]).max() > 1
    model(inputs, training=False)
    np.testing.assert_array_equal(seen[-1], inputs["image"])
    names = {layer.name for layer in network._flatten_layers()}
    assert not [name for name in names if "random" in name or "augment" in name]


def test_mixed_images_are_judged_by_their_mixed_ages(tiny_config):
    """A mixing that makes every age 30 months, whatever the labels say."""
    tiny_config.dropout = 0.0
    network = build_model(tiny_config)
    names = tuple(losses := build_losses(tiny_config)[0])
    inputs = {
        "image": np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 1)).astype(np.float32),
        "sex": np.zeros((4, 1), np.float32),
        "age_months": np.full((4, 1), 200, np.float32),
    }
    lost = []
    for mixing, months in ((lambda given: (given[0], given[2] * 0 + 30), 200), (None, 30)):
        model = AugmentedModel(network, None, names, mixing)
        model.compile(optimizer=keras.optimizers.SGD(0.0), loss=losses, run_eagerly=True)
        targets = dict.fromkeys(names, np.full((4, 1), months, np.float32))
        lost.append(model.train_on_batch(inputs, targets, return_dict=True)["loss"])
    assert lost[0] == pytest.approx(lost[1], rel=1e-4)
    assert lost[0] > 0


def _spy(layer, seen):
    original = layer.call

    def call(image, *arguments, **options):
        seen.append(np.array(image))
        return original(image, *arguments, **options)

    layer.call = call
    return call


@pytest.mark.slow
@pytest.mark.parametrize("head", ["distribution", "regression"])
def test_two_steps_lower_the_loss_of_the_batch(tiny_config, phantoms, tmp_path, head):
    tiny_config.head = head
    tiny_config.batch_size = 24
    tiny_config.epochs = 8
    tiny_config.augmentation.policy = "none"
    tiny_config.dropout = 0.0
    tiny_config.learning_rate = 3e-3
    fit(tiny_config, phantoms, tmp_path)
    losses = [float(row["loss"]) for row in log_of(tmp_path)]
    assert len(losses) == 8  # of two steps each
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_the_stronger_policy_trains(tiny_config, phantoms, tmp_path):
    tiny_config.augmentation.policy = "strong"
    tiny_config.stage_scales = (0.75, 1.0)
    tiny_config.stage_ends = (0.5, 1.0)
    fit(tiny_config, phantoms, tmp_path)
    assert all(np.isfinite(float(row["loss"])) for row in log_of(tmp_path))


@pytest.mark.slow
def test_a_run_leaves_its_record_and_is_not_done_twice(tiny_config, phantoms, tmp_path):
    best = fit(tiny_config, phantoms, tmp_path)
    folder = tmp_path / "checkpoints"
    assert best == folder / "best.keras"
    assert (folder / "last.keras").exists()
    assert len(log_of(tmp_path)) == 2
    assert list((tmp_path / "tensorboard").rglob("events*"))
    assert not list(folder.glob("writing*"))
    record = json.loads((folder / "best.json").read_text())
    maes = [float(row["val_age_months_mae"]) for row in log_of(tmp_path)]
    assert record["val_mae_months"] == pytest.approx(min(maes))
    # The figure of the log belongs to the averaged weights that were saved.
    part = parts_of(phantoms)["validation"]
    table = pipeline.read_table(phantoms, part)
    network = keras.saving.load_model(best, compile=False)
    outputs = prediction.predict(network, tiny_config, phantoms, part, len(table))
    mae = np.abs(outputs["age_months"][:, 0] - table.age_months).mean()
    assert mae == pytest.approx(min(maes), rel=1e-3)
    before = best.stat().st_mtime_ns
    fit(tiny_config, phantoms, tmp_path)
    assert best.stat().st_mtime_ns == before


class Killed(Exception):
    """Takes the place of kill -9."""


def killed_in(function, call):
    """Makes one call of a method of ResumePoints raise `Killed` instead of doing its work."""
    original, calls = getattr(checkpoints.ResumePoints, function), []

    def kill(self, *arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            raise Killed
        return original(self, *arguments, **options)

    return function, kill


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backing", "function", "call", "says"),
    [
        ("prepared", "on_train_batch_begin", 4, "resuming after step 2 of 24"),
        ("packed", "_move", 4, "resuming after step 3 of 24"),  # written, but not moved yet
        ("packed", "_commit", 2, "resuming after step 10 of 24"),  # the same at an epoch's end
        ("packed", "on_train_batch_begin", 1, "epoch 1 of 4 done"),  # before the first point
    ],
)
def test_a_killed_run_goes_on_where_it_was(
    tiny_config, phantoms, tmp_path, capsys, undisturbed, backing, function, call, says
):
    data = data_of(phantoms, backing)
    tiny_config.epochs, tiny_config.balance = 4, 0.3
    whole = undisturbed(tiny_config, data, backing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints.ResumePoints, *killed_in(function, call))
        with pytest.raises(Killed):
            fitting.fit(tiny_config, data, tmp_path, 0, resume_seconds=0.0)
    assert not (tmp_path / "checkpoints" / "finished.json").exists()
    fitting.fit(tiny_config, data, tmp_path, 0)
    assert says in capsys.readouterr().out
    log = log_of(tmp_path)
    assert [row["epoch"] for row in log] == ["0", "1", "2", "3"]
    for row, wanted in zip(log, log_of(whole), strict=True):
        assert float(row["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-3)
    for name in ("last.keras", "best.keras"):
        for first, second in zip(
            weights_of(whole / "checkpoints" / name),
            weights_of(tmp_path / "checkpoints" / name),
            strict=True,
        ):
            np.testing.assert_allclose(first, second, atol=1e-4)


def data_of(phantoms, backing):
    parts = parts_of(phantoms)
    if backing == "prepared":
        return PreparedData(phantoms, parts)
    return PackedData(pack.make_pack(packing.examples(phantoms, parts)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns the folder of a run that nothing disturbs, once for each kind of data."""
    folders = {}

    def folder(config, data, backing):
        if backing not in folders:
            folders[backing] = tmp_path_factory.mktemp(backing)
            fitting.fit(config, data, folders[backing], 0)
        return folders[backing]

    return folder


@pytest.mark.slow
def test_a_broken_resume_point_falls_back_to_the_one_before(
    tiny_config, phantoms, tmp_path, capsys
):
    fit(tiny_config, phantoms, tmp_path)
    folder = tmp_path / "checkpoints"
    (folder / "finished.json").unlink()
    (folder / "step-00000012.weights.h5").write_bytes(b"cut off")
    fit(tiny_config, phantoms, tmp_path)
    said = capsys.readouterr().out
    assert "trying the one before" in said
    assert "resuming after step 6 of 12" in said
    assert (folder / "finished.json").exists()


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", None),
        ("\0\0\0\0", None),
        ("\n\n", None),
        ("epoch,loss\n", []),
        ("epoch,loss\r\n0,1.5\r\n1,1.2\r\n2,1.1\r\n", ["0", "1"]),
        ("epoch,loss\n0,1.5\n1,1.2\0\0\0", ["0", "1"]),
        ("epoch,loss\n0,1.5\n1", ["0"]),
        ("epoch;loss\n0;1,5\n", None),  # saved by a spreadsheet
    ],
)
def test_a_log_that_a_kill_left_broken_is_mended(tmp_path, text, kept):
    log = tmp_path / "log.csv"
    log.write_text(text)
    checkpoints.forget_later_rows(log, 2)
    assert log.exists() == (kept is not None)
    if kept is not None:
        assert [row["epoch"] for row in log_of(tmp_path)] == kept


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(tiny_config, phantoms, tmp_path):
    tiny_config.learning_rate = float("nan")
    with pytest.raises(TrainingDivergedError, match=r"lower --config\.learning_rate"):
        fit(tiny_config, phantoms, tmp_path)


def test_too_few_images_for_a_batch_are_told(tiny_config, phantoms, tmp_path):
    tiny_config.batch_size = 64
    with pytest.raises(ValueError, match=r"48 training images .* --config\.batch_size=12"):
        fit(tiny_config, phantoms, tmp_path)


def test_stages_start_at_their_share_of_all_steps(tiny_config):
    tiny_config.stage_scales = (0.5, 0.75, 1.0)
    tiny_config.stage_ends = (0.5, 0.75, 1.0)
    schedule = fitting.Schedule(epochs=4, steps_per_epoch=10)
    assert schedule.stages(tiny_config) == [(0, 16), (20, 24), (30, 32)]


def test_the_average_of_the_weights_grows_with_the_run():
    assert fitting.Schedule(10, 100).ema_momentum(0.02) == pytest.approx(0.95)
    assert fitting.Schedule(1, 4).ema_momentum(0.02) == 0  # the newest weights alone


def test_precision_follows_the_processor(tmp_path, monkeypatch):
    (tmp_path / "old").write_text("flags : avx2 fma")
    (tmp_path / "new").write_text("flags : avx2 avx512_bf16")
    assert not precision._cpu_multiplies_bfloat16(tmp_path / "old")
    assert precision._cpu_multiplies_bfloat16(tmp_path / "new")
    assert not precision._cpu_multiplies_bfloat16(tmp_path / "none")
    assert precision.choose_precision("mixed_float16") == "mixed_float16"
    monkeypatch.setattr(precision, "_cpu_multiplies_bfloat16", lambda: True)
    assert precision.choose_precision("auto") == "mixed_bfloat16"
    for model, wanted in (("resnet18", "mixed_bfloat16"), ("efficientnet_lite0", "float32")):
        config = configs.load_config(model, "hand_phantom")
        assert precision.choose_precision("auto", config) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_trains(policy, tmp_path, root, phantoms):
    code = (
        "import sys; sys.path.insert(0, 'tests'); import keras, numpy as np\n"
        "from bone_age_tf import config as configs\n"
        "from bone_age_tf.models.catalog import MODELS\n"
        "from bone_age_tf.training import fit as fitting\n"
        "MODELS['tiny'] = 'tiny_network'\n"
        f"keras.mixed_precision.set_global_policy('{policy}')\n"
        "config = configs.base_config(); config.model = 'tiny'\n"
        "model = fitting.compiled(config, fitting.Schedule(1, 4), 0)\n"
        "x = {'image': np.random.rand(8, 32, 32, 1) * 255, 'sex': np.ones((8, 1))}\n"
        "y = {name: np.full((8, 1), 90.0) for name in model.trained_outputs}\n"
        "first = model.fit(x, y, epochs=4, batch_size=4, verbose=0).history['loss']\n"
        "assert all(np.isfinite(first)), first\n"
        "assert model.network.get_layer('conv1').compute_dtype != 'float32'\n"
        "print('trained')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip().endswith("trained"), done.stderr[-2000:]

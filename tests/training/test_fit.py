import csv
import json

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


def test_no_epochs_keep_the_first_weights(eager, tiny_config, phantoms, tmp_path):
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
@pytest.mark.parametrize(
    ("head", "policy"),
    [
        ("regression", "float32"),
        ("distribution", "float32"),
        ("distribution", "mixed_bfloat16"),
        ("distribution", "mixed_float16"),
    ],
)
def test_steps_lower_the_loss_of_the_batch(tiny_config, head, policy):
    keras.utils.set_random_seed(0)
    keras.mixed_precision.set_global_policy(policy)
    tiny_config.head = head
    tiny_config.augmentation.policy = "none"
    tiny_config.dropout = 0.0
    tiny_config.learning_rate = 3e-3
    model = fitting.compiled(tiny_config, fitting.Schedule(8, 2), 0)
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (24, 32, 32, 1)).astype(np.float32)
    inputs = {"image": image, "sex": np.arange(24, dtype=np.float32)[:, None] % 2}
    months = random.uniform(12, 216, (24, 1)).astype(np.float32)
    targets = dict.fromkeys(model.trained_outputs, months)
    losses = [
        float(model.train_on_batch(inputs, targets, return_dict=True)["loss"]) for _ in range(16)
    ]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert model.network.get_layer("conv1").compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.slow
def test_the_stronger_policy_trains(tiny_config, phantoms, tmp_path):
    """With growing images, and a head of one output, whose metrics Keras names differently."""
    tiny_config.augmentation.policy = "strong"
    tiny_config.head = "regression"
    tiny_config.epochs = 1
    tiny_config.stage_scales = (0.75, 1.0)
    tiny_config.stage_ends = (0.5, 1.0)
    fit(tiny_config, phantoms, tmp_path)
    (row,) = log_of(tmp_path)
    assert np.isfinite(float(row["loss"]))
    record = json.loads((tmp_path / "checkpoints" / "best.json").read_text())
    assert record["val_mae_months"] == pytest.approx(float(row["val_mae"]))


@pytest.mark.slow
def test_a_run_leaves_its_record_and_is_not_done_twice(tiny_config, phantoms, undisturbed):
    config = to_disturb(tiny_config)
    run = undisturbed(config, data_of(phantoms, "prepared"), "prepared")
    folder = run / "checkpoints"
    best = folder / "best.keras"
    assert (folder / "last.keras").exists()
    assert len(log_of(run)) == 2
    assert list((run / "tensorboard").rglob("events*"))
    assert not list(folder.glob("writing*"))
    record = json.loads((folder / "best.json").read_text())
    maes = [float(row["val_age_months_mae"]) for row in log_of(run)]
    assert record["val_mae_months"] == pytest.approx(min(maes))
    # The figure of the log belongs to the averaged weights that were saved.
    part = parts_of(phantoms)["validation"]
    table = pipeline.read_table(phantoms, part)
    network = keras.saving.load_model(best, compile=False)
    outputs = prediction.predict(network, config, phantoms, part, len(table))
    mae = np.abs(outputs["age_months"][:, 0] - table.age_months).mean()
    assert mae == pytest.approx(min(maes), rel=1e-3)
    before = best.stat().st_mtime_ns
    assert fit(config, phantoms, run) == best
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


KILLS = [
    # A method of ResumePoints, the call of it that a kill comes in, and the steps that stay done
    ("on_train_batch_begin", 1, 0),  # before the first point
    ("_move", 4, 3),  # a point is written, but not moved yet
    ("_commit", 2, 10),  # the same at an epoch's end
]


@pytest.mark.slow
def test_a_run_goes_on_where_it_was_after_each_kill(
    tiny_config, phantoms, tmp_path, capsys, undisturbed
):
    data, config = data_of(phantoms, "packed"), to_disturb(tiny_config)
    whole = undisturbed(config, data, "packed")
    done = 0
    for function, call, stays in KILLS:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            patch.setattr(checkpoints.ResumePoints, *killed_in(function, call))
            fitting.fit(config, data, tmp_path, 0, resume_seconds=0.0)
        check_resumed(capsys.readouterr().out, done)
        assert not (tmp_path / "checkpoints" / "finished.json").exists()
        done = stays
    fitting.fit(config, data, tmp_path, 0)
    check_resumed(capsys.readouterr().out, done)
    check_same_run(tmp_path, whole)


@pytest.mark.slow
def test_a_broken_resume_point_falls_back_to_the_one_before(
    tiny_config, phantoms, tmp_path, capsys, undisturbed
):
    data, config = data_of(phantoms, "prepared"), to_disturb(tiny_config)
    whole = undisturbed(config, data, "prepared")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoints.ResumePoints, *killed_in("on_train_batch_begin", 5))
        fitting.fit(config, data, tmp_path, 0, resume_seconds=0.0)
    (tmp_path / "checkpoints" / "step-00000003.weights.h5").write_bytes(b"cut off")
    fitting.fit(config, data, tmp_path, 0)
    said = capsys.readouterr().out
    assert "trying the one before" in said
    check_resumed(said, 2)
    assert (tmp_path / "checkpoints" / "finished.json").exists()
    check_same_run(tmp_path, whole)


def check_resumed(said, step):
    if step:
        assert f"resuming after step {step} of 12" in said
    else:
        assert "resuming" not in said


def check_same_run(folder, whole):
    log = log_of(folder)
    assert [row["epoch"] for row in log] == ["0", "1"]
    for row, wanted in zip(log, log_of(whole), strict=True):
        assert float(row["loss"]) == pytest.approx(float(wanted["loss"]), rel=1e-3)
    for name in ("last.keras", "best.keras"):
        for first, second in zip(
            weights_of(whole / "checkpoints" / name),
            weights_of(folder / "checkpoints" / name),
            strict=True,
        ):
            np.testing.assert_allclose(first, second, atol=1e-4)


def to_disturb(config):
    """Two epochs of six steps; two random layers are enough to show that they go on, too."""
    config.epochs, config.balance = 2, 0.3
    config.augmentation.update(flip=False, shift_fraction=0.0, zoom_fraction=0.0, contrast=0.0)
    return config


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
def test_a_loss_that_is_no_number_stops_the_run(eager, tiny_config, phantoms, tmp_path):
    tiny_config.augmentation.policy = "none"
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

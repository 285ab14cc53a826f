"""The SavedModel from bytes: equal to local prediction, and nothing breaks it."""

import io
import json
import zlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from made_films import encode
from PIL import Image

from bone_age_tf import config as configs
from bone_age_tf.bundle import Bundle
from bone_age_tf.catalog import exported_versions
from bone_age_tf.errors import ParityError, RadiographError
from bone_age_tf.export import parity, publish, saved_model
from bone_age_tf.export.overlay import overlay_png
from bone_age_tf.images import reading, resizing
from bone_age_tf.inference.cases import Case
from bone_age_tf.quality.publish import load_quality_check
from bone_age_tf.reader import load
from bone_age_tf.reasons import TEXTS, Reason
from image_files import faulty_films

SIGNATURES = ("serving_default", "tensors", "explain")
EXIF_TURNED = Image.Exif()
EXIF_TURNED[0x0112] = 6


@pytest.fixture(scope="module")
def serve(served):
    loaded = tf.saved_model.load(str(served[1]))

    def call(files, sexes=None):
        sexes = np.zeros((len(files), 1), np.float32) if sexes is None else sexes
        found = loaded.signatures["serving_default"](
            image_bytes=tf.constant(files), sex=tf.constant(sexes, tf.float32)
        )
        return {name: value.numpy() for name, value in found.items()}

    call.loaded = loaded  # must outlive its signatures
    return call


@pytest.fixture(scope="module")
def files(drawn):
    """Files of every kind and fate, by name."""
    hand = drawn[2]
    wide = np.pad(hand, ((0, 0), (40, 40)))
    sixteen = (hand.astype(np.uint16) * 16)[:150]
    return {
        "plain": encode(hand),
        "jpeg": encode(hand, "JPEG", quality=95),
        "turned by EXIF": encode(np.rot90(hand), "JPEG", quality=95, exif=EXIF_TURNED),
        "PNG turned by EXIF": encode(np.rot90(hand), exif=EXIF_TURNED),
        "colour": encode(np.stack([hand] * 3, axis=-1)),
        "16 bits": encode(sixteen),
        "black edges": encode(wide),
        "mirrored": encode(np.ascontiguousarray(drawn[1][:, ::-1])),
        "inverted": encode(255 - drawn[1]),
        "upside down": encode(np.ascontiguousarray(drawn[3][::-1, ::-1])),
        "half": encode(hand[:70]),
        "small": encode(hand[::3, ::3]),
        "small within": encode(np.pad(hand[::3, ::3], 60)),
        "blank": encode(np.full((90, 90), 80, np.uint8)),
        "noise": encode(np.random.default_rng(0).integers(0, 255, (99, 80)).astype(np.uint8)),
        "cut off": encode(hand)[:-900],
        "cut off jpeg": encode(hand, "JPEG")[:-400],
        "text": b"not an image at all",
        "empty": b"",
        "other kind": encode(hand, "BMP"),
        "painted white": encode(painted(drawn[1])),
        **faulty_films(grained(drawn[1])),
    }


def grained(hand):
    """A hand on what is not plain, so that JPEG does not make margins of it."""
    grain = np.random.default_rng(0).normal(0, 6, hand.shape)
    low, high = np.percentile(hand + grain, [0.5, 99.5])
    return resizing.to_uint8((hand + grain - low) * 255 / (high - low))


def painted(hand):
    """A hand whose background is white."""
    return np.where(hand > np.median(hand[:20]) + 12, hand, np.uint8(255))


def test_it_answers_as_local_prediction_does(served, serve, files, tmp_path):
    exports, _ = served
    found = serve(list(files.values()), np.array([[place % 2] for place in range(len(files))]))
    cases = []
    for place, (name, data) in enumerate(files.items()):
        path = tmp_path / f"{place}.png"
        path.write_bytes(data)
        cases.append(Case(name, path, place % 2))
    results = load("tiny", exports_dir=exports).read_table(cases)
    seen = set()
    for place, result in enumerate(results):
        status = found["status"][place].decode()
        assert (result.source, {"error": "failed"}.get(status, status)) == (
            result.source,
            result.status,
        )
        reason = found["reason"][place].decode()
        seen.add(int(found["reason_code"][place]))
        if result.status == "ok" or "training distribution" not in reason:
            assert (result.source, reason) == (result.source, result.note.partition(" (")[0])
        months = found["age_months"][place, 0]
        if result.prediction is None:
            assert np.isnan(months)
            assert np.isnan(found["distribution"][place]).all()
        else:
            assert months == pytest.approx(result.age_months, abs=0.3)
            expected = pytest.approx(result.interval_90_months, abs=0.5)
            assert found["interval_90_months"][place] == expected
    assert seen >= {0, 1, 10, 11, 20, 21, 22}  # read, put right, refused, not readable


def test_too_many_pixels_are_told_before_they_are_decoded(serve, drawn):
    good = encode(drawn[0])
    chunk = b"IHDR" + (11_000).to_bytes(4, "big") + (8_000).to_bytes(4, "big") + good[24:29]
    huge = good[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + good[33:]
    found = serve([huge, good])
    assert found["reason_code"].tolist()[0] == Reason.TOO_LARGE
    assert found["reason"][0] == b"11000 x 8000 " + TEXTS[Reason.TOO_LARGE].encode()
    with pytest.raises(RadiographError, match="11000 x 8000 pixels is too large"):
        reading.read_radiograph(huge)


@pytest.mark.slow
def test_no_damage_fails_a_batch(serve, drawn):
    rng = np.random.default_rng(0)
    seeds = [
        encode(drawn[0]),
        encode(drawn[0].astype(np.uint16) * 200),
        encode(drawn[0], "JPEG"),
        encode(drawn[0], "JPEG", progressive=True, exif=EXIF_TURNED),
    ]
    expected = serve(seeds[:1])["age_months"][0]
    codes = []
    for _ in range(12):
        batch = [_damaged(seeds[rng.integers(len(seeds))], rng) for _ in range(19)]
        found = serve([*batch, seeds[0]])
        assert found["age_months"][-1] == pytest.approx(expected, abs=1e-3)
        codes += found["reason_code"][:-1].tolist()
    assert len(codes) == 228
    assert np.mean(np.array(codes) >= Reason.EMPTY_FILE) > 0.5


def _damaged(data, rng):
    data, kind = bytearray(data), rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        for place in rng.integers(len(data), size=8):
            data[place] = rng.integers(256)
    elif kind == 2:
        for place in rng.integers(60, size=4):
            data[place] = rng.integers(256)
    else:
        first, last = sorted(rng.integers(len(data), size=2))
        del data[first:last]
    return bytes(data)


@pytest.mark.parametrize("sex", [0.5, 2.0, -1.0, np.nan])
def test_a_sex_is_never_guessed(serve, drawn, sex):
    good = encode(drawn[0])
    found = serve([good, good], np.array([[sex], [1.0]]))
    assert found["status"].tolist()[0] == b"error"
    assert found["reason_code"].tolist()[0] == Reason.SEX
    assert np.isnan(found["age_months"][0])
    assert np.isfinite(found["age_months"][1])


def test_more_files_than_sexes_is_an_error_that_says_so(serve, drawn):
    with pytest.raises(tf.errors.InvalidArgumentError, match="different numbers of cases"):
        serve([encode(drawn[0])], np.zeros((2, 1)))


def test_refused_films_do_not_spoil_the_parity(served, drawn):
    folder = served[1]
    half = resizing.resize(resizing.trim_margins(drawn[0][:90].astype(np.float32)), 32)[..., None]
    whole = resizing.resize(resizing.trim_margins(drawn[2].astype(np.float32)), 32)[..., None]
    cases = [
        parity.Case(encode(drawn[0][:90]), half, 0, 30.0),
        parity.Case(encode(drawn[2]), whole, 1, 144.0),
    ]
    months, from_bytes = parity._saved_model_months(
        tf.saved_model.load(str(folder)), cases, np.array([[0.0], [1.0]], "f")
    )
    assert from_bytes == 1
    predictor = Bundle.open(folder).predictor()
    expected = [predictor.predict(case.image[..., 0], case.sex).age_months for case in cases]
    assert months == pytest.approx(expected, abs=0.05)


def test_metadata_names_every_tensor_and_reason(served, serve):
    metadata = json.loads((served[1] / "metadata.json").read_text())
    signature = metadata["signatures"]["serving_default"]
    assert signature["inputs"]["image_bytes"] == {"shape": [-1], "dtype": "string"}
    assert signature["outputs"]["status"] == {"shape": [-1], "dtype": "string"}
    assert set(signature["outputs"]) == set(serve([b""]))
    assert metadata["reasons"]["22"] == {"status": "error", "text": "the image is damaged"}
    assert metadata["film_check"] == int(exported_versions(served[0])["film_check"][-1].name)


def test_a_model_with_a_map_gets_a_signature_for_it(tmp_path, drawn):
    image, sex = keras.Input((32, 32, 1), name="image"), keras.Input((1,), name="sex")
    mean = keras.layers.GlobalAveragePooling2D()(image)
    seen = keras.layers.Rescaling(1 / 255)(keras.layers.AveragePooling2D(8)(image))
    outputs = {
        "age_months": keras.layers.Add()([mean, sex]),
        "map": keras.layers.Reshape((4, 4))(seen),
    }
    config = configs.base_config()
    config.image_size_px = 32
    model = keras.Model({"image": image, "sex": sex}, outputs)
    described = saved_model.write_saved_model(model, config, tmp_path / "1")
    assert "map" not in described["serving_default"]["outputs"]
    assert described["explain"]["outputs"]["map"] == {"shape": [-1, 4, 4], "dtype": "float32"}
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    found = loaded.signatures["explain"](
        image_bytes=tf.constant([encode(drawn[0]), b""]), sex=tf.zeros((2, 1))
    )
    small = resizing.resize(drawn[0].astype(np.float32), 32)
    expected = small.reshape(4, 8, 4, 8).mean(axis=(1, 3)) / 255
    np.testing.assert_allclose(found["map"][0], expected, atol=0.01)
    assert np.isnan(found["map"][1]).all()
    assert found["status"].numpy().tolist() == [b"ok", b"error"]
    drawn_over, nothing = found["overlay_bytes"].numpy()
    (as_laid,) = overlay_png(small[None, ..., None], expected[None].astype(np.float32)).numpy()
    pictures = [np.asarray(Image.open(io.BytesIO(png)), int) for png in (drawn_over, as_laid)]
    assert pictures[0].shape == (512, 512, 3)
    assert np.abs(pictures[0] - pictures[1]).mean() < 2
    assert nothing == b""


def test_explaining_answers_as_serving_does_and_says_where_from(served, serve, files):
    batch, sexes = list(files.values()), tf.zeros((len(files), 1))
    found = serve.loaded.signatures["explain"](image_bytes=tf.constant(batch), sex=sexes)
    plain = serve(batch)
    assert set(found) == {*plain, "map", "overlay_bytes"}
    for name, value in plain.items():
        if value.dtype == object or name == "reason_code":
            assert found[name].numpy().tolist() == value.tolist()
        else:
            np.testing.assert_allclose(found[name], value, atol=1e-3)
    answered = plain["status"] == b"ok"
    maps, pictures = found["map"].numpy(), found["overlay_bytes"].numpy()
    np.testing.assert_allclose(maps[answered].max(axis=(1, 2)), 1, rtol=1e-5)
    assert np.isnan(maps[~answered]).all()
    assert [picture[:4] == b"\x89PNG" for picture in pictures] == answered.tolist()
    metadata = json.loads((served[1] / "metadata.json").read_text())
    assert metadata["map"] == {"shape": [1, *maps.shape[1:]], "range": [0, 1]}
    assert metadata["signatures"]["explain"]["outputs"]["overlay_bytes"]["dtype"] == "string"
    assert metadata["parity"]["saved_model"]["max_map"] < 0.05


def test_nobody_waits_for_a_map_who_did_not_ask(serve):
    def names(signature):
        definition = serve.loaded.signatures[signature].graph.as_graph_def()
        nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
        return {node.name for node in nodes}

    of_map = [any("removal_maps" in one for one in names(name)) for name in SIGNATURES]
    assert of_map == [False, False, True]


def test_a_wrong_map_is_not_published():
    maps = np.zeros((2, 3, 3))
    assert parity._map_difference("explain", maps + 0.05, maps) == pytest.approx(0.05)
    for wrong in (maps + 0.3, maps * np.nan):
        with pytest.raises(ParityError, match="the map of explain is"):
            parity._map_difference("explain", wrong, maps)


def test_an_export_that_dies_leaves_the_version_before(served, tiny_config, monkeypatch):
    exports, folder = served
    before = {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}

    def dies(*_):
        raise OSError("no space left")

    monkeypatch.setattr(publish, "write_warm_up", dies)
    from bone_age_tf.models.build import build_model

    with pytest.raises(OSError, match="no space left"):
        publish.publish(
            build_model(tiny_config), tiny_config, [], [], {}, exports, radiographs=[b"x"]
        )
    assert {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_film_check_without_its_network_is_told(served, tmp_path):
    broken = tmp_path / "film_check" / "3"
    broken.mkdir(parents=True)
    (broken / "metadata.json").write_text(
        (exported_versions(served[0])["film_check"][-1] / "metadata.json").read_text()
    )
    with pytest.raises(ValueError, match="train_quality_check, or export with --noquality_check"):
        load_quality_check(tmp_path)
    assert load_quality_check(tmp_path / "nothing") is not None  # that of the package

"""The exported files against the Keras model, with real values."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from made_films import sharpen

from bone_age_tf.bundle import Bundle
from bone_age_tf.data import pipeline
from bone_age_tf.errors import ParityError
from bone_age_tf.evaluation.familiarity import fit_familiarity
from bone_age_tf.evaluation.interval import IntervalTable
from bone_age_tf.evaluation.site_calibration import SiteCalibration
from bone_age_tf.export import lite, lite_int8, parity, publish
from bone_age_tf.images import reading
from bone_age_tf.models.build import build_features_model, build_model
from bone_age_tf.models.removal import MONTHS_MAP, build_removal_model

INTERVAL = IntervalTable(((11.0,) * 21, (20.0,) * 21), 100)
"""Half-widths of 1 month, which is what a regression has, become 11 for girls and 20 for boys."""


ONCE = pytest.mark.parametrize("exported", [("distribution", "pad")], indirect=True)
"""For tests of what no head and no way of resizing changes."""


def cases_of(phantoms, config, part):
    image_fn = pipeline.traced_decoding(config.image_size_px, config.resize)
    found = []
    for row in pipeline.read_encoded(phantoms, pipeline.Part(part)).as_numpy_iterator():
        pixels = image_fn(tf.constant(row["image"])).numpy()
        found.append(parity.Case(row["image"], pixels, int(row["sex"]), float(row["age_months"])))
    return found


@pytest.fixture(scope="module", params=[("distribution", "pad"), ("regression", "stretch")])
def exported(request, phantoms, tmp_path_factory):
    from bone_age_tf import config as configs
    from bone_age_tf.models.catalog import MODELS

    MODELS["tiny"] = "tiny_network"
    config = configs.base_config()
    config.model, config.dataset, config.image_size_px = "tiny", "hand_phantom", 32
    config.head, config.resize = request.param
    keras.utils.set_random_seed(1)
    network = build_model(config)
    sharpen(network)
    exports = tmp_path_factory.mktemp("exports")
    test = cases_of(phantoms, config, "test")
    folder, measured = publish.publish(
        network,
        config,
        cases_of(phantoms, config, "train"),
        test,
        {},
        exports,
        INTERVAL if config.head == "regression" else None,
        formats=("float32", "int8", "float32_map"),
    )
    yield config, network, exports, folder, measured, test
    MODELS.pop("tiny")


def keras_months(network, cases):
    images = np.stack([case.image for case in cases])
    sexes = np.array([[case.sex] for case in cases], np.float32)
    return network.predict({"image": images, "sex": sexes}, verbose=0)["age_months"][:, 0]


def test_the_models_answers_differ(exported):
    _, network, _, _, _, test = exported
    assert np.ptp(keras_months(network, test)) > 5


def test_every_form_agrees_with_keras(exported):
    _, _, _, _, measured, test = exported
    assert measured["n"] == len(test) == 16
    assert measured["saved_model"]["max_months"] < 0.05
    assert measured["litert_float32"]["max_months"] < 0.05
    assert 0 < measured["litert_int8"]["mean_months"] < 1
    assert measured["litert_float32_map"]["max_months"] < 0.05
    for name in ("saved_model", "litert_float32_map"):
        assert measured[name]["max_map"] < 0.02
    assert measured["litert_int8"]["megabytes"] < measured["litert_float32"]["megabytes"]
    for row in (measured["litert_float32"], measured["litert_int8"]):
        assert row["milliseconds"] > 0
        assert row["milliseconds_one_thread"] > 0
        assert 0 < row["memory_megabytes"] < 200
    assert "litert_int8" in parity.parity_table(measured)


def test_a_lite_file_has_the_map_that_keras_has(exported):
    _, _, _, folder, _, test = exported
    runner = Interpreter(str(folder / "model_float32_map.tflite")).get_signature_runner()
    removal = build_removal_model(build_static(exported))
    for case in test[:3]:
        image, sex = case.single
        found = runner(image=image, sex=sex)["map"][0]
        months = removal({"image": image, "sex": sex}, training=False)[MONTHS_MAP][0]
        size = np.abs(np.array(months))
        assert size.max() > 2e-3  # months
        # Below 0.02 months the map is darker: rounding is not to be shown in full light.
        np.testing.assert_allclose(found, size / max(size.max(), 0.02), atol=0.02)


def build_static(exported):
    config, network, *_ = exported
    static = build_model(config, config.image_size_px)
    static.set_weights(network.get_weights())
    return static


def test_bytes_of_any_shape_share_a_batch(exported):
    config, network, _, folder, _, test = exported
    loaded = tf.saved_model.load(str(folder))
    serve = loaded.signatures["serving_default"]
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, shape, np.uint8) for shape in [(40, 70, 1), (90, 33, 3)]]
    encoded = [tf.io.encode_png(pictures[0]).numpy(), tf.io.encode_jpeg(pictures[1]).numpy()]
    encoded.append(test[0].encoded)
    answer = serve(image_bytes=tf.constant(encoded), sex=tf.constant([[0.0], [1.0], [1.0]]))
    images = np.stack(
        [
            pipeline.traced_decoding(config.image_size_px, config.resize)(tf.constant(data))
            for data in encoded
        ]
    )
    expected = network.predict(
        {"image": images, "sex": np.array([[0], [1], [1]], np.float32)}, verbose=0
    )
    assert set(answer) >= set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(answer[name], value, atol=0.05)


def test_the_tensor_signature_takes_any_batch(exported):
    _, network, _, folder, _, test = exported
    loaded = tf.saved_model.load(str(folder))
    for count in (1, 5):
        images = tf.constant(np.stack([case.image for case in test[:count]]))
        sexes = tf.constant([[float(case.sex)] for case in test[:count]])
        answer = loaded.signatures["tensors"](image=images, sex=sexes)["age_months"]
        np.testing.assert_allclose(answer[:, 0], keras_months(network, test[:count]), atol=0.05)


def test_nothing_random_is_exported(exported):
    _, _, _, folder, _, _ = exported
    loaded = tf.saved_model.load(str(folder))
    for signature in loaded.signatures.values():
        definition = signature.graph.as_graph_def()
        nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
        assert len(nodes) > 50
        assert not [node.op for node in nodes if "Random" in node.op]


def test_lite_files_hold_built_in_operators_only(exported):
    _, _, _, folder, _, _ = exported
    for name in ("float32", "int8"):
        interpreter = Interpreter(model_path=str(folder / f"model_{name}.tflite"))
        names = {details["op_name"] for details in interpreter._get_ops_details()}
        assert not [op for op in names if op.startswith(("Flex", "CUSTOM"))]
    assert (folder / "model_int8.tflite").stat().st_size < (
        folder / "model_float32.tflite"
    ).stat().st_size


def plain_interpreter(data):
    """Without the delegate, which would replace the operations by one of its own."""
    return Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )


def convolutions_of(data):
    """Types of the image, the weights and the result of each convolution, and its scales."""
    interpreter = plain_interpreter(data)
    tensors = {details["index"]: details for details in interpreter.get_tensor_details()}
    found = []
    for op in interpreter._get_ops_details():
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            image, weights = (tensors[index] for index in op["inputs"][:2])
            output = tensors[op["outputs"][0]]
            scales = len(weights["quantization_parameters"]["scales"])
            found.append((image["dtype"], weights["dtype"], output["dtype"], scales))
    return found


def test_convolutions_compute_in_int8_for_each_channel(exported):
    _, _, _, folder, _, _ = exported
    found = convolutions_of((folder / "model_int8.tflite").read_bytes())
    assert [kinds[:3] for kinds in found].count((np.int8,) * 3) >= 1
    assert {scales for kind, *_, scales in found if kind == np.int8} <= {8, 16}


def test_what_rounding_hurts_stays_in_float(exported, monkeypatch):
    _, _, _, folder, _, test = exported
    float32 = (folder / "model_float32.tflite").read_bytes()
    cases = [case.single for case in test]
    monkeypatch.setattr(lite_int8, "GOOD_MAX_MONTHS", np.inf)
    monkeypatch.setattr(lite_int8, "GOOD_MEAN_MONTHS", np.inf)
    loose = lite_int8.convert_int8(float32, cases)
    assert [kinds[1] for kinds in convolutions_of(loose)] == [np.int8, np.int8]

    # Says that all is well once the second convolution, which is told to hurt most, is float32.
    def moved(data, tuning):
        in_int8 = [kinds[1] == np.int8 for kinds in convolutions_of(data)]
        return np.full(len(tuning), 5.0 * in_int8[1] + 1.0 * in_int8[0])

    monkeypatch.setattr(lite_int8, "months_of", moved)
    monkeypatch.setattr(lite_int8, "GOOD_MEAN_MONTHS", 2.0)
    strict = lite_int8.convert_int8(float32, cases)
    assert [kinds[1] for kinds in convolutions_of(strict)] == [np.int8, np.float32]

    # Beside an error of years the same difference is not worth a layer in float32.
    monkeypatch.setattr(lite_int8, "GOOD_MEAN_MONTHS", 4.0)
    coarse = lite_int8.convert_int8(float32, cases, error_months=180.0)
    assert [kinds[1] for kinds in convolutions_of(coarse)] == [np.int8, np.int8]


def test_one_glaring_image_does_not_coarsen_the_steps(exported):
    _, _, _, folder, _, test = exported
    float32 = (folder / "model_float32.tflite").read_bytes()

    def widest(cases):
        ranges = lite_int8.activation_ranges(float32, cases)
        return max(float(of["max"][0]) for name, of in ranges.items() if "Relu" in name)

    alike = [test[0].single] * 20
    # The percentile stretch evens brightness out, so the odd one differs by its texture.
    noise = np.random.default_rng(0).random(test[0].image.shape, np.float32)
    odd = (255.0 * noise[None], test[0].single[1])
    assert widest([odd]) > 1.1 * widest([alike[0]])
    assert widest([*alike, odd]) == pytest.approx(widest(alike), rel=1e-5)


def test_int8_without_calibration_images_says_what_to_set(exported):
    _, _, _, folder, _, _ = exported
    with pytest.raises(ValueError, match="calibration_images"):
        lite_int8.convert_int8((folder / "model_float32.tflite").read_bytes(), [])


def test_files_say_themselves_what_they_are(exported):
    _, _, _, folder, _, _ = exported
    metadata = json.loads((folder / "metadata.json").read_text())
    for form in ("float32", "int8"):
        found = lite.read_metadata((folder / f"model_{form}.tflite").read_bytes())
        assert found == {name: value for name, value in metadata.items() if name != "parity"}
    with pytest.raises(ValueError, match=r"no metadata\.json"):
        lite.read_metadata(
            lite.flatbuffer_utils.convert_object_to_bytearray(lite.schema_py.ModelT())
        )


def test_metadata_says_what_a_runtime_needs(exported):
    config, network, _, folder, _, _ = exported
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["inputs"]["image"]["shape"] == [1, 32, 32, 1]
    assert metadata["inputs"]["sex"]["values"] == {"female": 0, "male": 1}
    assert set(metadata["outputs"]) == {*network.output, "interval_90_months"}
    if config.head == "regression":
        assert metadata["interval"]["factors"]["male"][0] == 20
    assert metadata["preprocessing"]["resize"] == config.resize
    assert "Not a medical device" in metadata["intended_use"]
    assert metadata["versions"]["keras"] == keras.__version__


def test_the_predictor_reads_what_export_writes(exported):
    config, network, exports, folder, _, test = exported
    assert Bundle.find("tiny", exports).folder == folder
    image = reading.read_radiograph(test[3].encoded)
    predictor = Bundle.open(folder).predictor()
    found = predictor.predict(predictor.fit_image(image), test[3].sex)
    expected = keras_months(network, test)[3]
    assert found.age_months == pytest.approx(expected, abs=0.05)
    lower, upper = found.interval_90_months
    assert lower < found.age_months < upper
    if config.head == "regression":
        assert upper == pytest.approx(min(240, expected + 11 + 9 * test[3].sex), abs=0.05)


def test_an_export_takes_a_sites_calibration_along(exported, tmp_path, request):
    config, network, _, folder, _, test = exported
    if config.head == "regression":
        request.getfixturevalue("no_saved_model")
    interval = INTERVAL if config.head == "regression" else None
    site = SiteCalibration((9.0, -4.0), (1.1, 0.9), "tiny", 1, (30, 30))
    formats = ("float32",)
    second, measured = publish.publish(
        network, config, test, test, {}, tmp_path, interval, site, formats=formats
    )
    if config.head == "distribution":
        assert measured["saved_model"]["max_months"] < 0.05
    bundles = [Bundle.open(place) for place in (folder, second)]
    plain, moved = (bundle.predictor() for bundle in bundles)
    for case in test[:4]:
        image = plain.fit_image(reading.read_radiograph(case.encoded))
        before, after = plain.predict(image, case.sex), moved.predict(image, case.sex)
        assert after.age_months == pytest.approx(site.apply(before.age_months, case.sex), abs=0.05)
        lower, upper = before.interval_90_months
        if lower > 0 and upper < 240:
            ends = site.apply(np.array([lower, upper]), case.sex)
            assert after.interval_90_months == pytest.approx(tuple(ends), abs=0.05)
    metadata = json.loads((second / "metadata.json").read_text())
    assert metadata["site_calibration"]["offset_months"] == {"female": 9.0, "male": -4.0}
    assert bundles[1].site_calibrated


@ONCE
def test_a_broken_conversion_is_not_published(exported, no_saved_model, monkeypatch):
    config, network, exports, folder, _, test = exported
    nothing = np.full(len(test), np.nan)
    monkeypatch.setattr(parity, "_saved_model_months", lambda *_: (nothing, 0))
    with pytest.raises(ParityError, match="saved_model answers nan"):
        publish.publish(network, config, test, test, {}, exports, formats=())
    monkeypatch.setattr(
        parity, "_saved_model_months", lambda *_: (keras_months(network, test) + 2, 0)
    )
    with pytest.raises(ParityError, match=r"2\.00 months .* nothing was published"):
        publish.publish(network, config, test, test, {}, exports, formats=())
    assert [path.name for path in (exports / "tiny").iterdir()] == [folder.name]


@ONCE
def test_a_new_version_leaves_the_old_one(exported, no_saved_model):
    config, network, exports, folder, _, test = exported
    before = (folder / "metadata.json").stat().st_mtime_ns
    second, _ = publish.publish(network, config, test, test, {}, exports, formats=())
    assert (folder.name, second.name) == ("1", "2")
    assert (folder / "metadata.json").stat().st_mtime_ns == before
    (exports / "tiny" / ".writing-dead").mkdir()
    publish.remove_leftovers(exports, "tiny")
    assert sorted(path.name for path in (exports / "tiny").iterdir()) == ["1", "2"]


def test_int8_that_is_too_far_off_is_told():
    row = {"mean_months": 0.2, "max_months": 3.5, "mae_months": 1.0}
    found = {"n": 1, "keras": {"mae_months": 1.0}, "litert_int8": row}
    assert "WARNING: litert_int8" in parity.parity_table(found)
    for better in ({"max_months": 2.9}, {"max_months": 2.9, "mean_months": 0.5}):
        assert "WARNING" not in parity.parity_table(found | {"litert_int8": row | better})
    worse = row | {"max_months": 2.9, "mean_months": 0.6}
    assert "WARNING" in parity.parity_table(found | {"litert_int8": worse})


def test_exports_tell_what_is_unlike_a_hand(phantoms, tiny_config, tmp_path, no_saved_model):
    keras.utils.set_random_seed(2)
    network = build_model(tiny_config)
    sharpen(network)
    known, held_out = (cases_of(phantoms, tiny_config, part) for part in ("train", "test"))
    features = build_features_model(network)

    def ask(cases):
        images = np.stack([case.image for case in cases])
        sexes = np.zeros((len(cases), 1), np.float32)
        return features.predict({"image": images, "sex": sexes}, verbose=0)

    found = fit_familiarity(ask(known), ask(held_out))
    folder, _ = publish.publish(
        network,
        tiny_config,
        known[:4],
        held_out[:4],
        {},
        tmp_path,
        familiarity=found,
        formats=("float32",),
    )
    predictor = Bundle.open(folder).predictor()
    distances = [predictor.predict(c.image[..., 0], c.sex).unfamiliarity for c in held_out]
    np.testing.assert_allclose(distances, found.unfamiliarity(ask(held_out)), rtol=1e-3)
    assert np.mean(np.array(distances) <= 1) >= 0.9
    checks = 255 * (np.indices((32, 32)).sum(axis=0) // 4 % 2).astype(np.float32)
    assert predictor.predict(checks, 0).unfamiliarity > 1.5 * max(distances)

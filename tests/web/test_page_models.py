"""Other models than the shipped one: other sizes and outputs, and maps of where they look."""

import json

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import Bundle
from bone_age_tf.web.build import build_page

pytestmark = pytest.mark.slow

YELLOW, PURPLE = (253, 231, 37), (68, 1, 84)
DARK_VIOLET = (70, 32, 112)
"""Of a share of 20 / 220 in viridis as the page has it, 8 % from its first to its second place."""


def _export(folder, name, size_px, resize, answer_fn):
    """An export whose answers can be worked out by hand: answer_fn(image, sex) -> outputs."""
    import keras
    import tensorflow as tf

    image, sex = keras.Input((size_px, size_px, 1), name="image"), keras.Input((1,), name="sex")
    model = keras.Model([image, sex], answer_fn(image, sex))
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda image, sex: model([image, sex], training=False),
        [
            tf.TensorSpec((1, size_px, size_px, 1), tf.float32, name="image"),
            tf.TensorSpec((1, 1), tf.float32, name="sex"),
        ],
    )
    target = folder / name / "3"
    target.mkdir(parents=True)
    archive.write_out(str(folder / f".{name}"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(folder / f".{name}"), signature_keys=["serving_default"]
    )
    (target / "model.tflite").write_bytes(converter.convert())
    outputs = {key: {"shape": [1, *tensor.shape[1:]]} for key, tensor in model.output.items()}
    if "distribution" in outputs:
        outputs["distribution"] |= {"bin_months": 60.0, "first_edge_months": 24}
    metadata = {
        "name": name,
        "version": 3,
        "inputs": {
            "image": {"shape": [1, size_px, size_px, 1], "dtype": "float32", "range": [0, 255]},
            "sex": {"shape": [1, 1], "dtype": "float32", "values": {"female": 0, "male": 1}},
        },
        "outputs": outputs,
        "preprocessing": {"size_px": size_px, "resize": resize},
        "files": {"float32": "model.tflite"},
    }
    (target / "metadata.json").write_text(json.dumps(metadata))
    return target


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """mapped: age = mean + 10 sex, maps where the image is bright. bare: age = its left edge."""
    from keras import ops

    folder = tmp_path_factory.mktemp("exports")

    def mapped_fn(image, sex):
        mean = ops.mean(image, axis=(1, 2))
        brightness = ops.average_pool(image, 4, 4)[..., 0] / 255
        return {
            "age_months": mean + 10 * sex,
            "interval_90_months": ops.concatenate([mean - 20, mean + 30], axis=-1),
            "distribution": ops.concatenate([mean * 0 + 0.25, mean * 0 + 0.75], axis=-1),
            "map": brightness,
            "attention_1": brightness / 100,
        }

    def bare_fn(image, sex):
        return {"age_months": ops.mean(image[:, :, :2], axis=(1, 2)) + 0 * sex}

    _export(folder, "mapped", 24, "pad", mapped_fn)
    _export(folder, "bare", 16, "stretch", bare_fn)
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Its left half is bright, its right half dark; higher than wide."""
    pixels = np.full((96, 64), 20, np.uint8)
    pixels[:, :32] = 220
    path = tmp_path_factory.mktemp("film") / "film.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def visit_model(visit, serve, exports, modules, tmp_path):
    """Returns a function that opens the page of a model."""
    servers = []

    def open_page(name):
        page = build_page(
            Bundle.open(exports / name / "3"), tmp_path / name, quality_check=False, compress=False
        )
        servers.append(serve(page.folder))
        return visit(servers[-1].__enter__())

    yield open_page
    for server in servers:
        server.__exit__(None, None, None)


def colours(card):
    """What the overlay shows an eighth and seven eighths across, and its size."""
    return card.locator(".map").evaluate("""map => {
      const at = (share) => Array.from(map.getContext("2d").getImageData(
        Math.floor(map.width * share), Math.floor(map.height / 2), 1, 1).data.slice(0, 3));
      return [at(0.125), at(0.875), map.width, map.height];
    }""")


def test_maps_of_the_model_are_shown(visit_model, exports, film):
    found = visit_model("mapped")
    found.read(film, sex="male")
    card = found.card()
    predictor = Bundle.open(exports / "mapped" / "3").predictor()
    image = predictor.fit_image(np.asarray(Image.open(film), np.float32))
    expected = predictor.predict(image, 1)
    age = float(card.locator(".answer").get_attribute("data-age"))
    assert age == pytest.approx(expected.age_months, abs=0.01)
    assert card.locator("option").all_text_contents() == ["map", "attention_1"]
    for name in ("map", "attention_1"):  # each coloured by its own strongest place
        card.locator("select").select_option(name)
        left, right, width, height = colours(card)
        assert (width, height) == (64, 96)  # the film alone, without the square's black sides
        np.testing.assert_allclose(left, YELLOW, atol=2)
        np.testing.assert_allclose(right, DARK_VIOLET, atol=2)
    assert "What the model weighs" in card.locator(".legend").inner_text()
    card.locator(".opacity input").fill("20")
    assert card.locator(".map").evaluate("map => map.style.opacity") == "0.2"
    card.locator(".where").click()
    found.wait(lambda: card.locator("option").count() == 3)
    assert "in months (8 x 8 pieces)" in card.locator(".legend").inner_text()
    ticks = card.locator(".plot text").all_text_contents()
    assert {"2", "4", "12"} <= set(ticks) and "0" not in ticks  # bins from 24 to 144 months
    assert "Probability of each 60 months" in ticks


def test_covering_shows_where_it_matters(visit_model, exports, film):
    """Of a mean of the left edge, each covered piece there changes the age by an eighth."""
    found = visit_model("bare")
    found.read(film)
    card = found.card()
    assert float(card.locator(".answer").get_attribute("data-age")) == pytest.approx(220, abs=0.5)
    assert card.locator(".interval").inner_text().strip() == "220.0 months"
    assert not card.locator(".map").is_visible()
    card.locator(".where").click()
    found.wait(lambda: card.locator(".map").is_visible())
    change = (220 - 120) / 8
    legend = card.locator(".legend").inner_text().split("\n")
    most = float(legend[-1].removesuffix(" months"))
    assert most == pytest.approx(change, abs=0.3)
    assert tuple(colours(card)[1]) == PURPLE
    table = found.csv().decode().splitlines()
    assert table[1].split(",")[2:5] == ["220.0", "", ""]


def test_covering_can_be_stopped(visit_model, film):
    found = visit_model("mapped")
    found.read(film)
    card = found.card()
    card.locator(".where").click()
    card.locator(".stop").click()
    found.wait(lambda: card.locator(".where").is_visible() or card.locator("option").count() == 3)
    found.choose("male")
    found.wait(lambda: "read as male" in card.inner_text())

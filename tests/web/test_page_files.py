"""What people drop on the page: each file gets an answer, and the page stays alive."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.web.build import MOST_FILE_BYTES, MOST_PIXELS

pytestmark = pytest.mark.slow


def _png_header(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return start + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IEND" + b"\xaeB`\x82"


def _saved(kind):
    random = np.random.default_rng(0)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (200, 150), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _bad_files():
    """Name to content and what the page must say of it."""
    png, jpeg = _saved("PNG"), _saved("JPEG")
    return {
        "empty.png": (b"", "the file is empty"),
        "text.png": (b"hello", "not a PNG or JPEG image"),
        "film.dcm": (b"\0" * 128 + b"DICM" + b"\0" * 64, "the DICOM file has no pixel data"),
        "film.tif": (_saved("TIFF"), "a TIFF file; save it as PNG"),
        "film.webp": (_saved("WEBP"), "a WebP file; save it as PNG"),
        "letter.pdf": (b"%PDF-1.7\n", "a PDF file"),
        "cut.png": (png[: len(png) // 2], "the image is damaged (the file ends too early)"),
        "cut.jpg": (jpeg[: len(jpeg) // 2], "the image is damaged (the file ends too early)"),
        "wrong.png": (png[:60] + b"\xff" * 40 + png[100:], "the image is damaged"),
        "header.jpg": (jpeg[:12], "the image is damaged"),
        "huge.png": (
            _png_header(20_000, 20_000),
            "20000 x 20000 pixels is too large; reduce it first",
        ),
    }


def test_bad_files_get_a_sentence_each_and_the_next_image_is_read(
    visit, light_address, hands, tmp_path
):
    cases = _bad_files()
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    found = visit(light_address)
    found.read(*[tmp_path / name for name in cases], hands[0])
    for place, (name, (_, words)) in enumerate(cases.items()):
        card = found.card(place)
        assert card.locator("h3").inner_text() == name
        message = card.locator(".message")
        assert message.inner_text().startswith("Could not be read: "), name
        assert words in message.inner_text(), name
        assert "failed" in message.get_attribute("class")
    assert found.card(len(cases)).locator(".age").inner_text().endswith("months")
    table = found.csv().decode().splitlines()
    assert len(table) == len(cases) + 2
    assert sum(",failed," in row for row in table) == len(cases)
    assert not found.messages


def test_a_huge_file_is_not_even_opened(visit, light_address, tmp_path):
    huge = tmp_path / "huge.png"
    with huge.open("wb") as file:
        file.truncate(MOST_FILE_BYTES + 1_000_000)
    found = visit(light_address)
    found.read(huge)
    assert "201 MB is too large; at most 200 MB are read here" in found.card().inner_text()


def test_a_large_film_is_read(visit, light_address, tmp_path):
    """16 megapixels: a film of 40 cm at 100 um."""
    film = np.tile(np.arange(4000, dtype=np.uint16) * 16, (4000, 1))
    assert film.size < MOST_PIXELS
    Image.fromarray(film).save(tmp_path / "large.png", compress_level=1)
    found = visit(light_address)
    found.read(tmp_path / "large.png")
    assert found.card().locator(".age").inner_text().endswith("months")


def test_a_queue_and_one_answer_for_all(visit, light_address, hands):
    found = visit(light_address)
    found.add(*hands[:6])
    found.choose("male", 2)
    ask = found.page.locator("#ask-all")
    found.wait(lambda: "5 images wait" in ask.inner_text())
    ask.get_by_role("button", name="All female").click()
    found.wait_for_answers(6)
    assert not ask.is_visible()
    sexes = [row.split(",")[1] for row in found.csv().decode().splitlines()[1:]]
    assert sexes == ["female", "female", "male", "female", "female", "female"]
    found.card(1).get_by_role("button", name="Remove").click()
    assert found.page.locator("#results-title").inner_text() == "5 images"
    assert hands[1].name not in found.csv().decode()
    found.page.click("#clear")
    assert not found.page.locator("#results").is_visible()


def test_files_can_be_dropped_and_pasted(visit, light_address, hands):
    found = visit(light_address)
    content = list(hands[0].read_bytes())
    give = """([kind, content]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(content)], `${kind}.png`, { type: "image/png" }));
      const key = kind === "drop" ? "dataTransfer" : "clipboardData";
      const Kind = kind === "drop" ? DragEvent : ClipboardEvent;
      document.dispatchEvent(new Kind(kind, { [key]: data }));
    }"""
    for kind in ("drop", "paste"):
        found.page.evaluate(give, [kind, content])
    names = found.page.locator(".card h3")
    assert names.all_inner_texts() == ["drop.png", "paste.png"]
    for place in range(2):
        found.choose("female", place)
    found.wait_for_answers(2)
    ages = found.page.locator(".age").all_inner_texts()
    assert len(ages) == 2 and ages[0] == ages[1]


def test_images_added_before_the_model_is_there_are_read(browser, address, hands):
    page = browser.new_page()
    page.goto(address, wait_until="domcontentloaded")
    page.locator("#add[data-listens]").wait_for()
    page.set_input_files("#choose", str(hands[0]))
    assert page.get_attribute("#ready", "data-state") == "loading"
    page.locator("input[value=male]").check()
    page.locator(".age").wait_for()
    page.close()


def test_a_worker_that_dies_is_replaced(visit, light_address):
    found = visit(light_address)
    outcome = found.page.evaluate("""async () => {
      const { Reader } = await import("/js/reader.js");
      const reader = new Reader();
      await reader.load();
      const file = new File([new Uint8Array(9)], "a.png");
      const lost = reader.read(file).catch((error) => error.message);
      await new Promise((resolve) => setTimeout(resolve));
      reader.worker.dispatchEvent(new ErrorEvent("error", { cancelable: true }));
      const words = await lost;
      const next = await reader.read(new File([], "b.png"));
      reader.worker.terminate();
      return [words, next.reason];
    }""")
    assert "the browser stopped reading it" in outcome[0]
    assert outcome[1] == "the file is empty"


def test_every_tensor_is_deleted(visit, light_address):
    found = visit(light_address)
    counts = found.page.evaluate("""async () => {
      const { Model } = await import("/js/runtime.js");
      let alive = 0;
      class Tensor {
        constructor(values, shape) {
          alive += 1;
          Object.assign(this, { values, type: { layout: { dimensions: shape } } });
        }
        async data() { return this.values; }
        delete() { alive -= 1; }
      }
      const run = async (signature, inputs) => ({
        twice: new Tensor(inputs.x.values.map((value) => 2 * value), [2]),
        half: new Tensor(inputs.x.values.map((value) => value / 2), [2]),
      });
      const model = new Model({ Tensor }, { run }, "serve");
      const good = await model.run({ x: { data: Float32Array.of(1, 2), shape: [2] } });
      const afterGood = alive;
      const said = await model.run({ x: { data: Float32Array.of(NaN, 2), shape: [2] } })
        .catch((error) => error.message);
      const broken = new Model({ Tensor }, { run: () => { throw new Error("no"); } }, "serve");
      await broken.run({ x: { data: Float32Array.of(1), shape: [1] } }).catch(() => {});
      return { good: Array.from(good.twice.data), afterGood, said, alive };
    }""")
    assert counts["good"] == [2, 4]
    assert counts["afterGood"] == counts["alive"] == 0
    assert "not a finite number" in counts["said"]

"""What the page answers is what the Python code answers."""

import csv
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image, ImageOps

from bone_age_tf import schema
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.clinical.result_columns import RESULT_COLUMNS
from bone_age_tf.commands.predict import _region_lines
from bone_age_tf.inference.cases import Case
from bone_age_tf.inference.result import REJECTED
from bone_age_tf.reader import load
from bone_age_tf.result_table import ResultTable
from image_files import faulty_films

pytestmark = pytest.mark.slow

MONTHS = 0.05
NUMBERS = RESULT_COLUMNS[2:5]
OF_SEX = ("sex", "sex_source")


@pytest.fixture(scope="module")
def trusting_reader(root):
    """Reads every radiograph as it is, as the page at `trusting_address` does."""
    return load(SHIPPED_MODEL, exports_dir=root / "exports", quality_check=False)


@pytest.fixture(scope="module")
def reader(root):
    return load(SHIPPED_MODEL, exports_dir=root / "exports")


@pytest.fixture(scope="module")
def odd_films(hands, tmp_path_factory):
    """Films that the check refuses or puts right, and one with a name that CSV must quote."""
    folder = tmp_path_factory.mktemp("odd")
    hand = Image.open(hands[0]).resize((220, 256))
    films = {
        "framed.png": ImageOps.expand(hand, (40, 30, 90, 60)),
        "half.png": hand.crop((0, 128, 220, 256)),
        "inverted.png": ImageOps.invert(hand),
        "noise.png": Image.fromarray(
            np.random.default_rng(0).integers(0, 256, (300, 240), np.uint8)
        ),
        "plain.png": Image.new("L", (200, 200), 90),
        "tiny, in black.png": ImageOps.expand(hand.resize((60, 80)), 50),
    }
    for pose, name in enumerate(schema.POSES):
        lying = ImageOps.mirror(hand) if pose >= 4 else hand
        films[f"{name}.png"] = lying.rotate(90 * (pose % 4), expand=True)
    for name, film in films.items():
        film.save(folder / name)
    pixels = np.asarray(hand)
    painted = np.where(pixels > np.median(pixels[:20]) + 12, pixels, np.uint8(255))
    Image.fromarray(painted).save(folder / "painted white.png")
    for name, data in faulty_films(pixels).items():
        (folder / f"{name.replace(':', '')}.png").write_bytes(data)
    return sorted(folder.iterdir())


def read_in_python(reader, paths, sex):
    return reader.read_table([Case(path.name, path, sex) for path in paths], progress=False)


def assert_same_table(found, expected):
    """The page's file has the rows of --mode=predict; a last digit may be rounded otherwise."""
    table = list(csv.reader(io.StringIO(found.decode(), newline="")))
    assert tuple(table[0]) == RESULT_COLUMNS
    assert len(table) == len(expected.rows()) + 1
    for cells, row in zip(table[1:], expected.rows(), strict=True):
        for name, ours, theirs in zip(RESULT_COLUMNS, cells, row, strict=True):
            if name in NUMBERS and theirs:
                assert float(ours) == pytest.approx(float(theirs), abs=0.1 + 1e-9), row
            elif name not in OF_SEX or row[5] != REJECTED:  # for a refused film it is not asked
                assert ours == theirs, row


def answers(found):
    values = found.page.locator(".answer").evaluate_all(
        "all => all.map(({ dataset }) => [dataset.age, dataset.lower, dataset.upper])"
    )
    return np.array(values, float)


def test_ages_of_twenty_phantoms(visit, trusting_address, trusting_reader, hands):
    found = visit(trusting_address)
    found.read(*hands, sex="male")
    expected = read_in_python(trusting_reader, hands, 1)
    numbers = np.array([[it.age_months, *it.interval_90_months] for it in expected])
    ours = answers(found)
    assert ours.shape == (20, 3)
    assert np.abs(ours - numbers).max() <= MONTHS
    assert np.std(ours[:, 0]) > 20  # they differ from each other
    assert_same_table(found.csv(), expected)


def test_films_are_refused_and_put_right_alike(visit, address, reader, hands, odd_films):
    paths = [*hands, *odd_films]
    found = visit(address)
    found.read(*paths, sex="female")
    expected = read_in_python(reader, paths, 0)
    assert_same_table(found.csv(), expected)
    corrections = {correction for result in expected for correction in result.corrections}
    assert expected.rejected >= 4
    assert len(corrections) >= 5  # what is less clear stays as it is


def test_unusual_regions_are_named_as_by_the_command(
    visit, trusting_address, trusting_reader, hands
):
    found = visit(trusting_address)
    found.read(hands[3], sex="female")
    shown = found.card().locator(".regions").inner_text()
    (prediction,) = trusting_reader.read(hands[3], "female").by_sex.values()
    expected = "\n".join(line.strip().capitalize() for line in _region_lines(prediction))
    assert prediction.unusual_regions
    assert re.sub(r"\d+", "#", shown).lower() == re.sub(r"\d+", "#", expected).lower()


def test_an_unknown_sex_gives_both_results(visit, trusting_address, trusting_reader, hands):
    found = visit(trusting_address)
    found.read(hands[3], sex="both")
    expected = read_in_python(trusting_reader, [hands[3]], None)
    assert len(expected.rows()) == 2
    assert_same_table(found.csv(), expected)
    assert found.card().locator("h4").all_inner_texts() == [
        "Bone age, read as female",
        "Bone age, read as male",
    ]


def test_the_sex_is_asked_and_can_be_changed(visit, trusting_address, trusting_reader, hands):
    found = visit(trusting_address)
    found.add(hands[1])
    message = found.card().locator(".message")
    found.wait(lambda: message.inner_text() == "Choose the sex to read this image.")
    assert found.card().locator("input:checked").count() == 0
    assert found.page.is_disabled("#csv")
    for sex, name in enumerate(("female", "male")):
        found.choose(name)
        found.wait(
            lambda name=name: f"read as {name}" in found.card().locator(".answers").inner_text()
        )
        (result,) = read_in_python(trusting_reader, [hands[1]], sex)
        assert answers(found)[0, 0] == pytest.approx(result.age_months, abs=MONTHS)


def test_words_years_and_plot(visit, trusting_address, trusting_reader, hands):
    found = visit(trusting_address, permissions=["clipboard-read", "clipboard-write"])
    found.read(hands[0], sex="female")
    (result,) = read_in_python(trusting_reader, [hands[0]], 0)
    age, lower, upper = ResultTable((result,), (None,)).rows()[0][2:5]
    years, months = divmod(round(result.age_months), 12)
    assert found.card().locator(".age").inner_text() == f"{years} years {months} months"
    interval = found.card().locator(".interval").inner_text()
    assert interval.startswith(f"{age} months\n90 % interval {lower} to {upper} months")
    plot = found.card().locator(".plot svg")
    assert f"{age} months" in plot.get_attribute("aria-label")
    assert {"Bone age in years", "90 % interval", "Probability of each 2 months"} <= set(
        plot.locator("text").all_text_contents()
    )
    highest = plot.locator("polygon").evaluate(
        "curve => [...curve.points].sort((a, b) => a.y - b.y)[0].x"
    )
    line = float(plot.locator(".estimate").get_attribute("x1"))
    bins = result.distribution
    mode_months = 2 * (int(bins.argmax()) + 0.5)
    per_month = float(plot.get_attribute("viewBox").split()[2]) - 58  # without the margins
    assert highest - line == pytest.approx(
        (mode_months - result.age_months) * per_month / 240, abs=0.1
    )
    found.card().locator(".copy").click()
    copied = found.page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(
        f"{hands[0].name}  female  bone age {age} months ({years} y {months} m), "
        f"90 % interval {lower} to {upper}\nRead by {SHIPPED_MODEL} version"
    )
    assert copied.endswith("not a medical device.")


def _without_relaxed_simd(folder):
    """As Safari: what LiteRT.js probes with is no module."""
    runtime = folder / "litert" / "index.js"
    text = runtime.read_text()
    probe = "WASM_RELAXED_SIMD_CHECK = new Uint8Array(["
    assert probe in text
    runtime.write_text(text.replace(probe, f"{probe}255, "))


def _threads(folder, wanted):
    """As for a large model, or a small one."""
    settings = json.loads((folder / "settings.json").read_text())
    (folder / "settings.json").write_text(json.dumps(settings | {"threads": wanted}))


@pytest.mark.parametrize(
    ("threads", "relaxed_simd", "name"),
    [
        (False, True, "litert_wasm_internal"),
        (True, True, "litert_wasm_threaded_internal"),
        (True, False, "litert_wasm_compat_internal"),
    ],
)
def test_every_runtime_gives_the_same_answer(
    visit, serve, page_folder, reader, hands, tmp_path, threads, relaxed_simd, name
):
    folder = shutil.copytree(page_folder, tmp_path / "page")
    _threads(folder, threads)
    if not relaxed_simd:
        _without_relaxed_simd(folder)
    with serve(folder) as url:
        found = visit(url)
        found.read(hands[3], sex="male")
        found.wait_until_kept()
        loaded = {asked.rsplit("/", 1)[1] for asked in found.requests if "/wasm/" in asked}
    assert loaded == {f"{name}.js", f"{name}.wasm"}
    (result,) = read_in_python(reader, [hands[3]], 1)
    assert answers(found)[0, 0] == pytest.approx(result.age_months, abs=MONTHS)

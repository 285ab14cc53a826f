"""The page for people with a phone, a keyboard, a screen reader or a dark screen."""

import json

import pytest

from bone_age_tf.catalog import SHIPPED_MODEL

pytestmark = pytest.mark.slow

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}


@pytest.fixture(scope="module")
def axe(modules):
    return (modules / "axe-core" / "axe.min.js").read_text("utf-8")


@pytest.fixture(scope="module")
def films(hands, tmp_path_factory):
    """A hand, the same under a long name, and a file that is none."""
    folder = tmp_path_factory.mktemp("films")
    long = folder / f"{'a_very_long_name_without_a_space_' * 4}.png"
    long.write_bytes(hands[0].read_bytes())
    broken = folder / "broken.png"
    broken.write_bytes(b"no image")
    return [hands[0], long, broken]


def fill(found, films):
    """Every state of a card at once: answers, both answers with a map, failed, waiting."""
    found.read(films[0])
    found.read(films[1], sex="both")
    found.read(films[2])
    found.add(films[0], films[0])
    found.wait(lambda: found.page.locator("#ask-all").is_visible())
    found.card(1).get_by_role("button", name="Show where it matters").click()
    # Two answers for each covered place
    found.wait(lambda: found.card(1).locator(".map").is_visible(), seconds=180)


def wide(found):
    return found.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def test_a_phone_needs_no_scrolling_sideways(visit, light_address, films):
    found = visit(light_address, **PHONE)
    assert wide(found) <= 0
    fill(found, films)
    assert wide(found) <= 0
    plot = found.card().locator(".plot svg")
    assert plot.bounding_box()["width"] == float(plot.get_attribute("viewBox").split()[2])
    for button in found.page.locator("button:visible").all():
        assert button.bounding_box()["height"] >= 36  # a finger hits it


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, light_address, axe, films, scheme):
    found = visit(light_address, color_scheme=scheme)
    fill(found, films)
    found.page.evaluate(axe)
    report = found.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    serious = [each for each in report["violations"] if each["impact"] in ("serious", "critical")]
    assert not serious, json.dumps(serious, indent=1)
    assert len(report["passes"]) > 20


def test_dark_mode_is_dark(visit, light_address):
    grounds = []
    for scheme in ("light", "dark"):
        found = visit(light_address, color_scheme=scheme)
        colour = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        grounds.append(sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))))
    assert grounds[0] > 600 and grounds[1] < 120


def test_it_says_what_it_is_not_and_what_reads(visit, address, page_folder):
    found = visit(address)
    note = found.page.get_by_role("note")
    assert note.is_visible()
    assert note.inner_text().startswith("Research use. Not a medical device.")
    about = found.page.locator("#about").inner_text()
    metadata = page_folder / "models" / SHIPPED_MODEL / "metadata.json"
    facts = json.loads(metadata.read_text())
    for words in (
        f"{SHIPPED_MODEL}, version {facts['version']}",
        f"{facts['data']['train_images']:,} images",
        f"{facts['metrics']['mae_months']['value']:.1f} months",
        f"{facts['metrics']['n']:,} images",
        "film_check",
    ):
        assert words in about
    assert found.page.locator("a[href^=http]").count() == 0


def test_all_by_keyboard(visit, light_address, films):
    found = visit(light_address)
    page, choosers = found.page, []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the images"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Choose images"
    page.keyboard.press("Enter")
    found.wait(lambda: choosers)
    choosers[0].set_files([str(films[0]), str(films[0])])
    found.wait(lambda: page.locator(".card .child-sex").count() == 2)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.type") == "radio":
            break
    page.keyboard.press("ArrowDown")  # from female to male
    found.wait_for_answers(1)
    assert "read as male" in found.card().inner_text()
    found.card().locator(".where").focus()
    page.keyboard.press("Enter")
    found.wait(lambda: found.card().locator(".map").is_visible())
    assert page.evaluate("document.activeElement.type") == "range"
    before = found.card().locator(".map").evaluate("map => map.style.opacity")
    page.keyboard.press("End")
    assert before != found.card().locator(".map").evaluate("map => map.style.opacity") == "1"
    found.card().locator(".remove").focus()
    page.keyboard.press("Enter")
    assert page.locator(".card").count() == 1
    assert page.evaluate("document.activeElement.className") == "card"


def test_answers_are_said_aloud(visit, light_address, films):
    found = visit(light_address)
    live = found.page.locator("#live")
    assert live.get_attribute("aria-live") == "polite"
    found.add(films[0])
    found.wait(lambda: live.inner_text() == f"{films[0].name} added. Choose the sex.")
    found.choose("female")
    found.wait(lambda: f"{films[0].name}  female  bone age" in live.text_content())
    found.read(films[2])
    assert "not a PNG or JPEG" in live.text_content()
    group = found.page.get_by_role("group", name="Sex of the child").first
    assert group.get_by_role("radio", name="Female", exact=True).is_checked()

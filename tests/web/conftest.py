"""The page in a real browser: Debian's Chromium, driven by Playwright."""

import contextlib
import fcntl
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import Bundle
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.errors import PageError
from bone_age_tf.web import litert_js
from bone_age_tf.web.build import SOURCES, build_page
from bone_age_tf.web.server import make_server
from made_once import made_once

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PHANTOM_PX = 256


@pytest.fixture(scope="session")
def modules():
    """node_modules with what the page and its tests need."""
    with (SOURCES / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        try:
            return litert_js.install(SOURCES, with_tests=True)
        except PageError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser():
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("no Chromium on this machine; Debian: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield browser
        browser.close()


@contextlib.contextmanager
def _served(folder):
    server = make_server(folder, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def serve():
    """Returns a function that serves a folder for the length of a with statement."""
    return _served


def _build(root, folder, **options):
    build_page(Bundle.find(SHIPPED_MODEL, root / "exports"), folder, compress=False, **options)


@pytest.fixture(scope="session")
def page_folder(modules, root, tmp_path_factory):
    """The page as it is shipped."""
    return made_once(tmp_path_factory, "page", lambda folder: _build(root, folder))


@pytest.fixture(scope="session")
def address(page_folder):
    with _served(page_folder) as url:
        yield url


@pytest.fixture(scope="session")
def trusting_address(modules, root, tmp_path_factory):
    """The page that reads every film."""

    def build(folder):
        _build(root, folder, quality_check=False)

    with _served(made_once(tmp_path_factory, "trusting_page", build)) as url:
        yield url


@pytest.fixture(scope="session")
def light_page(modules, exports, tmp_path_factory):
    """The page with a model that answers at once and reads every film."""

    def build(folder):
        build_page(Bundle.open(exports / "bins" / "1"), folder, quality_check=False, compress=False)

    return made_once(tmp_path_factory, "light_page", build)


@pytest.fixture(scope="session")
def light_address(light_page):
    with _served(light_page) as url:
        yield url


@dataclass
class Visit:
    """A visitor's page, loaded, with what its console and its network have said."""

    page: object
    messages: list
    requests: list

    def wait(self, condition, seconds=30):
        """The page's policy forbids Playwright's own way to wait for a condition in it."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "the page did not get there"
            self.page.wait_for_timeout(20)

    def wait_until_kept(self):
        self.wait(lambda: self.page.inner_text("#ready-text") == "Ready. Works offline.")

    def add(self, *paths):
        self.page.set_input_files("#choose", [str(path) for path in paths])

    def card(self, place=0):
        return self.page.locator(".card").nth(place)

    def choose(self, sex, place=0):
        self.card(place).locator(f"input[value={sex}]").check()

    def wait_for_answers(self, cards, seconds=30):
        done = self.page.locator(".card .copy:not([hidden])")
        self.wait(lambda: done.count() == cards, seconds)

    def read(self, *paths, sex="female"):
        """Adds images, says the sex of each that is not refused and waits for the answers."""
        before = self.page.locator(".card").count()
        self.add(*paths)
        opening = self.page.locator(".message", has_text="Opening")
        seconds = 30 + 2 * len(paths)
        self.wait(lambda: opening.count() == 0, seconds)
        # The last one first: an answer moves what lies below it, perhaps during a click.
        for place in reversed(range(before, before + len(paths))):
            if self.card(place).locator(".child-sex").is_visible():
                self.choose(sex, place)
        self.wait_for_answers(before + len(paths), seconds)

    def csv(self):
        with self.page.expect_download() as download:
            self.page.click("#csv")
        assert download.value.suggested_filename == "predictions.csv"
        return Path(download.value.path()).read_bytes()


@contextlib.contextmanager
def _visits(browser):
    """Yields a function that opens an address in a new profile and waits until it is ready."""
    contexts = []

    def open_page(url, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        visit = Visit(context.new_page(), [], [])
        visit.page.on("console", lambda message: visit.messages.append(message.text))
        visit.page.on("pageerror", lambda error: visit.messages.append(str(error)))
        context.on("request", lambda request: visit.requests.append(request.url))
        visit.page.goto(url)
        visit.wait(lambda: visit.page.get_attribute("#ready", "data-state") == "ready")
        return visit

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def visit(browser):
    """Returns a function that opens an address in a new profile and waits until it is ready."""
    with _visits(browser) as open_page:
        yield open_page


@pytest.fixture(scope="module")
def shared_visit(browser):
    """As `visit`, for a visit that the tests of a module share."""
    with _visits(browser) as open_page:
        yield open_page


@pytest.fixture(scope="session")
def hands(tmp_path_factory):
    """Twenty files of drawn hands."""
    from bone_age_datasets.hand_phantom.examples import make_example
    from bone_age_datasets.hand_phantom.population import PhantomSettings

    def draw(folder):
        folder.mkdir()
        settings = PhantomSettings(image_size_px=PHANTOM_PX)
        # The age of number 4 moves by 0.04 months when its place moves by 0.001 px.
        for place in (*range(4), *range(5, 21)):
            image, _ = make_example(settings, "test", place)
            Image.fromarray(np.asarray(image)[..., 0]).save(folder / f"hand_{place:02d}.png")

    return sorted(made_once(tmp_path_factory, "hands", draw).iterdir())

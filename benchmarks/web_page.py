"""Measures the size and the speed of the web page in headless Chromium.

python benchmarks/web_page.py --input=FOLDER

Without `--input` the images are drawn hands of 768 px. The script prints the transferred size of
the first load, the time from opening the page in a new profile to its first result, the times of
the next results (from a file to its result) and of the map, and the time of the same work in
Python. It needs Chromium, Node.js with npm, and the packages playwright and brotli.
"""

import argparse
import base64
import os
import shutil
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from bone_age_tf.images.reading import SUFFIXES
from bone_age_tf.reader import Reader, load
from bone_age_tf.web.build import build_page
from bone_age_tf.web.server import make_server
from drawn_archive import draw_archive

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
DRAWN, DRAWN_PX = 20, 768
MEGABYTE = 1e6

# Drops a file, selects the sex and waits until the card has its result; returns milliseconds.
READ = """
async ({ name, content }) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name));
  const start = performance.now();
  document.dispatchEvent(new DragEvent("drop", { dataTransfer }));
  const card = document.querySelector(".card:last-child");
  card.querySelector("input[value=female]").click();
  await new Promise((resolve) => {
    const seen = () => !card.querySelector(".copy").hidden && resolve();
    const options = { subtree: true, childList: true, attributes: true };
    new MutationObserver(seen).observe(card, options);
  });
  return [performance.now() - start, card.querySelector(".answer") !== null];
}
"""
# Records when the first card has its result, in milliseconds from the start of the navigation.
WATCH = """
new MutationObserver(() => {
  if (document.querySelector("#cards .copy:not([hidden])")) window.answered ??= performance.now();
}).observe(document, { subtree: true, childList: true, attributes: true });
"""
COVER = """
async () => {
  const card = [...document.querySelectorAll(".card")].find((it) => it.querySelector(".answer"));
  const start = performance.now();
  card.querySelector(".where").click();
  while (card.querySelector(".map").hidden) await new Promise((next) => setTimeout(next, 5));
  return performance.now() - start;
}
"""


def sent_over_the_wire(browser: Browser, url: str) -> dict[str, float]:
    """Returns the transferred bytes of a first load: of the models and of other files."""
    context = browser.new_context(service_workers="block")  # it would ask for some files again
    page = context.new_page()
    sizes = {"page": 0.0, "models": 0.0}

    def count(request: Any) -> None:
        kind = "models" if ".tflite" in request.url else "page"
        found = request.sizes()
        sizes[kind] += found["responseBodySize"] + found["responseHeadersSize"]

    requests: list[Any] = []
    context.on("requestfinished", lambda request: requests.append(request))
    page.goto(url)
    page.locator("#ready[data-state=ready]").wait_for()
    for request in requests:
        count(request)
    context.close()
    return sizes


def first_answer(browser: Browser, url: str, path: Path) -> float:
    """Returns the seconds from opening the page in a new profile to a result."""
    context = browser.new_context()
    context.add_init_script(WATCH)
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    page.locator("#add[data-listens]").wait_for()
    page.set_input_files("#choose", str(path))
    page.locator("input[value=female]").check()
    page.locator(".card .copy:visible").wait_for()
    seconds = page.evaluate("window.answered") / 1000
    context.close()
    return seconds


def next_answers(browser: Browser, url: str, paths: list[Path]) -> tuple[list[float], float, int]:
    """Returns the milliseconds of each file and of a map, and the number of predictions."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.locator("#ready[data-state=ready]").wait_for()
    found = []
    for path in paths:
        content = base64.b64encode(path.read_bytes()).decode()
        found.append(page.evaluate(READ, {"name": path.name, "content": content}))
    covering = page.evaluate(COVER)
    context.close()
    return [took for took, _ in found], covering, sum(read for _, read in found)


def in_python(reader: Reader, paths: list[Path]) -> list[float]:
    """Returns the milliseconds of the same work without a browser."""
    times = []
    for path in paths:
        start = time.perf_counter()
        reader.read(path, "female")
        times.append(1000 * (time.perf_counter() - start))
    return times


def main() -> None:
    """Builds the page, measures it and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, help="folder of PNG or JPEG files")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--model")
    parser.add_argument("--variant", help="default: the one that prediction takes")
    parser.add_argument("--visits", type=int, default=5, help="new profiles for the first answer")
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium on this machine; Debian: apt-get install chromium")
    reader = load(options.model, variant=options.variant, exports_dir=options.exports_dir)
    if reader.quality_checker is None:
        parser.error(f"{options.exports_dir} has no film_check")
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folder = options.input or draw_archive(Path(temporary) / "films", DRAWN, DRAWN_PX).parent
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
        page = build_page(reader.bundle, Path(temporary) / "page", options.variant)
        server = make_server(page.folder, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://localhost:{server.server_port}/"
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        sizes = sent_over_the_wire(browser, url)
        firsts = [first_answer(browser, url, paths[0]) for _ in range(options.visits)]
        times, covering, read = next_answers(browser, url, paths)
        browser.close()
        server.shutdown()
        python = in_python(reader, paths)
    print(f"{reader.model}; {len(paths)} images; {os.cpu_count()} cores")
    page_size, models_size = (sizes[key] / MEGABYTE for key in ("page", "models"))
    print(f"first load   {page_size:.2f} MB, models {models_size:.2f} MB")
    print(f"first answer {_spread(firsts)} s, {options.visits} new profiles")
    print(f"next answers {_spread(times)} ms, {read} of {len(paths)} read, the others refused")
    ratio = statistics.median(times) / statistics.median(python)
    print(f"in Python    {_spread(python)} ms: the page takes {ratio:.1f} times as long")
    print(f"map          {covering:.0f} ms")


def _spread(values: list[float]) -> str:
    digits = 2 if max(values) < 20 else 0
    return f"median {statistics.median(values):.{digits}f}, maximum {max(values):.{digits}f}"


if __name__ == "__main__":
    main()

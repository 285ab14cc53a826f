"""Which DICOM files are read, and why the others are not.

python benchmarks/dicom.py
python benchmarks/dicom.py --input=FOLDER
python benchmarks/dicom.py --page

Reads the test files that pydicom is installed with, or those of a folder. For each file the table
has the transfer syntax, the modality, and whether it is read as a radiograph or the reason why not.
Most of these files are of other modalities; the last column says whether the pixel data of such a
file can be decoded. With `--page` the page in the browser decodes the same files, whatever their
modality, and is compared with the package; this needs Chromium, Node.js with npm and playwright.
"""

import argparse
import base64
import collections
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bone_age_tf.errors import RadiographError
from bone_age_tf.images import dicom
from bone_age_tf.images.dicom_tags import Tags

READ = "read"
SAME = 1.0
"""Maximum difference of grey levels, 0 to 255, of an image that is read alike."""
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

# Decodes a file as the page does, whatever its modality; returns its pixels or its reason.
DECODE = """
async ([data, modality]) => {
  const { decode } = await import("/js/decode.js");
  const settings = await (await fetch("/settings.json")).json();
  settings.dicom.modalities.push(modality);
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  try {
    const { width, height, pixels } = await decode(bytes, settings, "image.dcm");
    const raw = new Uint8Array(pixels.buffer);
    let text = "";
    for (let at = 0; at < raw.length; at += 8192) {
      text += String.fromCharCode(...raw.subarray(at, at + 8192));
    }
    return { shape: [height, width], pixels: btoa(text) };
  } catch (error) {
    return { reason: error.message };
  }
}
"""


def outcome(path: Path, modalities: tuple[str, ...]) -> str:
    """Returns `READ` with the size in pixels, or the reason why a file is not read."""
    try:
        height, width = dicom.read_dicom(path, modalities=modalities).pixels.shape
    except RadiographError as error:
        return error.reason
    return f"{READ}, {width} x {height}"


def describe(path: Path) -> list[str]:
    """Returns the row of a file."""
    import pydicom

    dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    syntax = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    modality = Tags(dataset).text("Modality")
    as_radiograph = outcome(path, dicom.MODALITIES)
    is_other = modality and modality not in dicom.MODALITIES
    decoded = outcome(path, (modality,)) if is_other else ""
    return [path.name, syntax.name if syntax else "", modality, as_radiograph, decoded]


def compare(path: Path, modality: str, evaluate: Callable[..., Any]) -> str:
    """Returns how the page's outcome for a file relates to that of the package.

    Args:
        path: the file.
        modality: its modality, which is read.
        evaluate: runs a script with an argument on the page.
    """
    data = path.read_bytes()
    answer = evaluate(DECODE, [base64.b64encode(data).decode(), modality])
    try:
        expected = dicom.read_dicom(data, modalities=(*dicom.MODALITIES, modality)).pixels
    except RadiographError as error:
        if "reason" not in answer:
            return f"page: read; package: {error.reason}"
        is_same = answer["reason"].partition(" (")[0] == error.reason.partition(" (")[0]
        return "same reason" if is_same else f"page: {answer['reason']}; package: {error.reason}"
    if "reason" in answer:
        return f"page: {answer['reason']}; package: read"
    pixels = np.frombuffer(base64.b64decode(answer["pixels"]), np.float32).reshape(answer["shape"])
    if pixels.shape != expected.shape:
        return f"page: {pixels.shape}; package: {expected.shape}"
    difference = float(np.abs(pixels - expected).max())
    return "same pixels" if difference <= SAME else f"pixels differ by {difference:.1f}"


def compare_with_page(rows: list[list[str]], paths: list[Path]) -> None:
    """Prints on which files the page and the package differ, and how many are alike."""
    from playwright.sync_api import sync_playwright

    from bone_age_tf.bundle import Bundle
    from bone_age_tf.web.build import build_page
    from bone_age_tf.web.server import make_server

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_folder = build_page(Bundle.find(), Path(folder) / "page", compress=False).folder
        server = make_server(page_folder, 0)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = next(filter(None, map(shutil.which, CHROMIUM)), None)
        browser = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        page = browser.new_page()
        page.goto(f"http://localhost:{server.server_port}/")
        outcomes = [
            compare(path, row[2] or "OT", page.evaluate)
            for path, row in zip(paths, rows, strict=True)
        ]
        browser.close()
        server.shutdown()
    counts = collections.Counter(text for text in outcomes if text.startswith("same"))
    print(f"the page: {counts['same pixels']} same pixels, {counts['same reason']} same reason")
    for path, text in zip(paths, outcomes, strict=True):
        if not text.startswith("same"):
            print(f"  {path.name}: {text}")


def main() -> None:
    """Prints the table and the number of files with each outcome."""
    import pydicom

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    of_pydicom = Path(pydicom.__file__).parent / "data" / "test_files"
    parser.add_argument("--input", type=Path, default=of_pydicom, help="default: pydicom's files")
    parser.add_argument("--page", action="store_true", help="compare the page in the browser, too")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # some of the files are malformed on purpose
    paths = [
        path
        for path in sorted(options.input.glob("*"))
        if path.is_file() and dicom.is_dicom(path.read_bytes(), path.suffix)
    ]
    rows = [describe(path) for path in paths]
    print("| file | transfer syntax | modality | as a radiograph | pixel data |")
    print("|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    counts = collections.Counter(row[3].startswith(READ) for row in rows)
    decoded = sum(row[3].startswith(READ) or row[4].startswith(READ) for row in rows)
    print(f"\n{len(rows)} files: {counts[True]} read, {counts[False]} not; {decoded} decoded")
    if options.page:
        compare_with_page(rows, paths)


if __name__ == "__main__":
    main()

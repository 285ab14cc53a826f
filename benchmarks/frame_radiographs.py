"""Copies radiographs in RSNA's layout with every hand in its frame, for training on frames.

python benchmarks/frame_radiographs.py --manual_dir=../shared/rsna_bone_age_299px --output=DIR

Image archives (boneage-*.zip) are written with the same names inside; tables are copied. The copy
is a --manual_dir like the first. A radiograph in which the hand is doubtful is copied whole, shrunk
to the frame's size. --table=FILE.csv lists each image with its doubt; --sheet=FOLDER writes contact
sheets of the frames, and of those that are copied whole.
"""

import argparse
import csv
import io
import os
import shutil
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bone_age_tf.bundle import load_region_detector
from bone_age_tf.errors import RadiographError
from bone_age_tf.evaluation import audit_plots
from bone_age_tf.images import reading, resizing
from bone_age_tf.regions import frame
from bone_age_tf.regions.detector import RegionDetector

FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
Row = tuple[str, float, bool, bool]
"""Name, doubt, whether it was mirrored, whether it is in its frame."""


@cache
def detector(exports_dir: str) -> RegionDetector:
    """Returns the newest region detector, loaded once a process."""
    loaded = load_region_detector(exports_dir)
    if loaded is None:
        raise SystemExit(f"no region detector in {exports_dir}")
    return loaded


def framed_copy(task: tuple[str, bytes, str, int, int]) -> tuple[Row, bytes]:
    """Returns one image in its frame, encoded as it was.

    Args:
        task: name, content, exports folder, side of the frame in pixels, JPEG quality.
    """
    name, content, exports_dir, size_px, quality = task
    try:
        image = reading.read_radiograph(content, name)
    except RadiographError:  # the dataset's builder reports it
        return (name, 1.0, False, False), content
    hand = frame.find_hand(image, detector(exports_dir))
    seen = frame.framed(image, hand, size_px)
    pixels = resizing.shrink(image, size_px) if seen is None else seen
    buffer = io.BytesIO()
    options = {"quality": quality} if FORMATS[Path(name).suffix.lower()] == "JPEG" else {}
    picture = Image.fromarray(resizing.to_uint8(pixels))
    picture.save(buffer, FORMATS[Path(name).suffix.lower()], **options)
    return (name, hand.doubt, hand.mirrored, seen is not None), buffer.getvalue()


def images_of(archive: zipfile.ZipFile, most: int | None) -> Iterator[tuple[str, bytes]]:
    """Yields names and contents of the images in an archive, at most `most`."""
    names = [name for name in archive.namelist() if Path(name).suffix.lower() in FORMATS]
    for name in names[:most]:
        yield name, archive.read(name)


def contact_sheet(images: list[tuple[str, bytes]]) -> bytes:
    """Returns a contact sheet of encoded images, each under its name, as a PNG file."""
    tiles = [
        resizing.to_uint8(resizing.resize(reading.read_radiograph(content, name), 160))
        for name, content in images
    ]
    return audit_plots.sheet(np.stack(tiles), [Path(name).stem for name, _ in images])


def main() -> None:
    """Writes the copy and prints how many hands are in their frames."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manual_dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--exports_dir", default="exports")
    parser.add_argument("--size_px", type=int, default=320)
    parser.add_argument("--quality", type=int, default=94, help="of JPEG files")
    parser.add_argument("--most", type=int, help="images of each archive, for a try")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[Row] = []
    shown: dict[bool, list[tuple[str, bytes]]] = {True: [], False: []}
    for path in sorted(options.manual_dir.iterdir()):
        target = options.output / path.name
        if path.suffix != ".zip":
            shutil.copyfile(path, target)
            continue
        part = target.with_suffix(".part")
        with zipfile.ZipFile(path) as source, zipfile.ZipFile(part, "w") as copy:
            tasks = (
                (name, content, options.exports_dir, options.size_px, options.quality)
                for name, content in images_of(source, options.most)
            )
            with ProcessPoolExecutor(os.cpu_count()) as pool:
                for row, content in pool.map(framed_copy, tasks, chunksize=16):
                    copy.writestr(zipfile.ZipInfo(row[0]), content)
                    rows.append(row)
                    if len(rows) % 53 == 0 or not row[3] or row[2]:
                        shown[row[3]].append((row[0], content))
        part.replace(target)
    whole = sum(not row[3] for row in rows)
    mirrored = sum(row[2] and row[3] for row in rows)
    print(f"{len(rows)} images, {whole} copied whole, {mirrored} mirrored")
    if options.table:
        with options.table.open("w", newline="") as file:
            csv.writer(file).writerows([("image", "doubt", "mirrored", "framed"), *rows])
    if options.sheet:
        options.sheet.mkdir(parents=True, exist_ok=True)
        for is_framed, images in shown.items():
            for number, start in enumerate(range(0, len(images), 96)):
                name = f"{'framed' if is_framed else 'whole'}_{number}.png"
                (options.sheet / name).write_bytes(contact_sheet(images[start : start + 96]))


if __name__ == "__main__":
    main()

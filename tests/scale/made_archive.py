"""An archive of made-up radiographs, some of them broken in different ways."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from dicom_files import file_bytes

BROKEN = (
    "empty.png",
    "cut.png",
    "flipped.png",
    "text.png",
    "tiny.png",
    "blank.png",
    "huge.png",
    "cut.jpg",
    "frames.dcm",
    "modality.dcm",
)
"""Files that are not read, each for another reason, and one that does not exist."""


def encoded(image, kind="PNG"):
    """Bytes of an image [H, W]."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(image, np.uint8)).save(file, kind)
    return file.getvalue()


def hand(number, side_px=48):
    """An image whose mean differs from those of other numbers."""
    return np.random.default_rng(number).integers(0, 100 + 10 * (number % 12), (side_px, side_px))


def broken_files():
    """Bytes by name, see `BROKEN`."""
    sound = encoded(hand(0, 96))
    at = sound.index(b"IDAT") + 20
    flipped = sound[:at] + bytes([sound[at] ^ 255]) + sound[at + 1 :]
    wide = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    huge = sound[:8] + struct.pack(">I", 13) + b"IHDR" + wide
    huge += struct.pack(">I", zlib.crc32(b"IHDR" + wide)) + sound[33:]
    stored = np.arange(48 * 48).reshape(48, 48) % 4096
    contents = (
        b"",
        sound[: len(sound) // 2],
        flipped,
        b"no image at all, but a line of text",
        encoded(hand(1, 20)),
        encoded(np.full((96, 96), 7)),
        huge,
        encoded(hand(2, 96), "JPEG")[:200],
        file_bytes(stored, NumberOfFrames=3),
        file_bytes(stored, Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4"),
    )
    return dict(zip(BROKEN, contents, strict=True))


def write_archive(folder, count=24):
    """Writes hands and a manifest; returns the manifest's path."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["image,sex,chronological_age_months"]
    for number in range(count):
        (folder / f"{number:03d}.png").write_bytes(encoded(hand(number)))
        sex = ("female", "male", "")[number % 3]
        lines.append(f"{number:03d}.png,{sex},{60 + number}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest

"""Packs: compact files of a prepared dataset that are read without TensorFlow and TFDS.

A pack is a NumPy archive (`.npz`, without pickles) with the concatenated encoded images, labels,
boxes and ids. A large pack may be stored in several files: FILE.000, FILE.001, and so on.
"""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bone_age_tf import schema
from bone_age_tf.errors import ConfigError
from bone_age_tf.files import read_parts, write_parts
from bone_age_tf.images import reading, resizing
from bone_age_tf.program import program

PARTS = ("train", "validation", "test")
"""Parts of a dataset; without a test split, the validation images are also used for testing."""

_FORMAT = 1
"""Version of the file format."""


@dataclasses.dataclass(frozen=True)
class Example:
    """One radiograph of a pack.

    Attributes:
        image_id: id, unique within the part.
        part: one of `PARTS`.
        sex: 0 female, 1 male.
        age_months: bone age in months.
        image: bytes of a PNG or JPEG file.
        boxes: [17, 4] float32, see `schema.REGIONS`; NaN for unknown regions.
    """

    image_id: str
    part: str
    sex: int
    age_months: float
    image: bytes
    boxes: np.ndarray | None = None


class Pack:
    """The content of a pack, in the order in which it was written.

    Attributes:
        arrays: the arrays in the file.
        facts: origin of the images and their encoding.
        digest: SHA-256 of the content.
        image_id: ids of the N images.
        part: [N] int8, indices in `PARTS`.
        sex: [N] int8, 0 female, 1 male.
        age_months: [N] float32, bone ages in months.
        boxes: [N, 17, 4] float32, see `schema.REGIONS`; NaN for unknown regions.
    """

    def __init__(self, arrays: dict[str, np.ndarray], facts: dict[str, Any], digest: str):
        self.arrays, self.facts, self.digest = arrays, facts, digest
        self.image_id = tuple(str(name) for name in arrays[schema.IMAGE_ID])
        self.part, self.sex = arrays["part"], arrays[schema.SEX]
        self.age_months, self.boxes = arrays[schema.AGE_MONTHS], arrays[schema.REGION_BOXES]
        self._bytes, self._ends = arrays["image_bytes"], arrays["image_ends"]

    def __len__(self) -> int:
        return len(self.image_id)

    def encoded(self, place: int) -> bytes:
        """Returns the bytes of the image file at an index of the pack."""
        start = 0 if place == 0 else int(self._ends[place - 1])
        return self._bytes[start : int(self._ends[place])].tobytes()

    def places(self, part: str) -> np.ndarray:
        """Returns the indices [K] of the images of a part."""
        return np.flatnonzero(self.part == PARTS.index(part))

    def images(self, places: Sequence[int] | np.ndarray, size_px: int, resize: str) -> np.ndarray:
        """Decodes and resizes images on all cores.

        Args:
            places: K indices in the pack.
            size_px: side of the square images in pixels.
            resize: one of `schema.INPUT_MODES`.

        Returns:
            [K, size_px, size_px] uint8.

        Raises:
            ConfigError: hands are packed in their frame and the mode is another, or the reverse.
        """
        if (resize == schema.FRAME) != (self.facts.get("resize") == schema.FRAME):
            held = "whole radiographs" if resize == schema.FRAME else "hands in their frame"
            raise ConfigError(
                f"the pack holds {held}, which do not fit resize {resize!r}; make another pack "
                f"with {program()} --mode=pack --config.resize={resize}"
            )
        resize = "pad" if resize == schema.FRAME else resize
        decoded = np.empty((len(places), size_px, size_px), np.uint8)

        def decode(row: int) -> None:
            image = reading.read_radiograph(self.encoded(int(places[row])))
            decoded[row] = resizing.to_uint8(resizing.resize(image, size_px, resize))

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(decode, range(len(places))):
                pass
        return decoded


def encode_image(data: bytes, longer_side_px: int, quality: int) -> bytes:
    """Encodes a radiograph as a grey JPEG, or lossless as a PNG.

    Args:
        data: bytes of a PNG or JPEG file.
        longer_side_px: maximum longer side in pixels; 0 keeps the size.
        quality: JPEG quality, 1 to 95; 0 for PNG.

    Raises:
        RadiographError: the image cannot be read.
    """
    image = reading.read_radiograph(data)
    if longer_side_px:
        image = resizing.shrink(image, longer_side_px)
    return encode_pixels(image, quality)


def encode_pixels(image: np.ndarray, quality: int) -> bytes:
    """Encodes an image [H, W], 0 to 255, as `encode_image` does."""
    picture, encoded = Image.fromarray(resizing.to_uint8(image)), io.BytesIO()
    if quality:
        picture.save(encoded, "JPEG", quality=quality, optimize=True)
    else:
        picture.save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def make_pack(examples: Iterable[Example], facts: dict[str, Any] | None = None) -> Pack:
    """Creates a pack in memory.

    Args:
        examples: the examples, at least one.
        facts: origin of the examples; a value that JSON can represent.

    Raises:
        ConfigError: there are no examples, or an id is repeated in a part.
    """
    rows = list(examples)
    _require_ids(rows)
    unknown = np.full((len(schema.REGIONS), 4), np.nan, np.float32)
    arrays = {
        schema.IMAGE_ID: np.array([row.image_id for row in rows]),
        "part": np.array([PARTS.index(row.part) for row in rows], np.int8),
        schema.SEX: np.array([row.sex for row in rows], np.int8),
        schema.AGE_MONTHS: np.array([row.age_months for row in rows], np.float32),
        schema.REGION_BOXES: np.stack(
            [unknown if row.boxes is None else np.float32(row.boxes) for row in rows]
        ),
        "image_bytes": np.frombuffer(b"".join(row.image for row in rows), np.uint8),
        "image_ends": np.cumsum([len(row.image) for row in rows], dtype=np.int64),
    }
    facts = {"format": _FORMAT, **(facts or {})}
    return Pack(arrays, facts, _digest(arrays, facts))


def write_pack(path: Path, pack: Pack, part_bytes: int = 0) -> None:
    """Writes a pack, whole or not at all.

    Args:
        path: path of the file.
        pack: the pack.
        part_bytes: maximum size of a file in bytes; 0 for a single file. Otherwise .000, .001, and
            so on are appended to `path`.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps({"facts": pack.facts, "sha256": pack.digest}, sort_keys=True)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, about=np.array(text), **pack.arrays)
    write_parts(path, content.getvalue(), part_bytes)


def read_pack(path: Path) -> Pack:
    """Reads a pack that `write_pack` wrote to one file or several files.

    Raises:
        ConfigError: the file is missing, not a pack, or damaged.
    """
    try:
        with np.load(io.BytesIO(read_parts(path)), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(str(arrays.pop("about")[()]))
        facts, digest = about["facts"], about["sha256"]
        if facts["format"] != _FORMAT:
            raise ConfigError(
                f"{path}: a pack of format {facts['format']}; this version reads {_FORMAT}. "
                "Write it again with --mode=pack"
            )
        if _digest(arrays, facts) != digest:
            raise ConfigError(f"{path}: damaged, its checksum differs; copy or write it again")
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from None
    except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path}: not a pack that --mode=pack wrote ({error})") from None
    return Pack(arrays, facts, digest)


def _require_ids(rows: Sequence[Example]) -> None:
    if not rows:
        raise ConfigError("there is no image to pack")
    known: set[tuple[str, str]] = set()
    for row in rows:
        if (row.part, row.image_id) in known:
            raise ConfigError(f"image id {row.image_id!r} is twice among the {row.part} images")
        known.add((row.part, row.image_id))


def _digest(arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.view(np.uint8).reshape(-1).data)
    return digest.hexdigest()

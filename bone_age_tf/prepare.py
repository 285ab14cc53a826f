"""Prepares datasets by name.

The TFDS builders are not a part of this package. They are imported by name when a dataset is
prepared; the prepared folder is the interface.
"""

import contextlib
import hashlib
import importlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from bone_age_tf.errors import ConfigError, require_known
from bone_age_tf.extras import require_packages
from bone_age_tf.files import only_one_process, require_writable_folder, write_json
from bone_age_tf.images import reading
from bone_age_tf.schema import DATASETS

_BUILDERS = "bone_age_datasets"
GENERATED = ("hand_phantom",)
"""Datasets that do not need the user's files."""
_END_BYTES = 1 << 16
"""Number of bytes at each end of an image file from which its hash is computed."""


def prepare_dataset(
    name: str,
    data_dir: Path,
    manual_dir: Path | None,
    skip_bad_rows: bool = False,
    beam_runner: str | None = None,
) -> tfds.core.DatasetBuilder:
    """Prepares a dataset unless it is already prepared, and returns its builder.

    The folder of a dataset from the user's files depends on their content, so that a changed file
    leads to a new preparation and a copied folder does not.

    Args:
        name: `dataset` or `dataset/config`.
        data_dir: folder of all prepared datasets.
        manual_dir: folder of the user's files; not needed for generated data, or if exactly one
            version of the files has been prepared.
        skip_bad_rows: skip rows that cannot be used, and list them in `skipped.csv`.
        beam_runner: runner of Apache Beam that writes the examples, such as DirectRunner; None to
            write them without Beam.

    Raises:
        ConfigError: the dataset or its config is unknown, or there are no files.
        ValueError: rows cannot be used; raised by the builder.
        FileNotFoundError: files are missing in `manual_dir`; raised by the builder.
    """
    dataset, _, variant = name.partition("/")
    require_known("dataset", dataset, DATASETS)
    module = importlib.import_module(f"{_BUILDERS}.{dataset}.{dataset}_dataset_builder")
    builder_class = module.Builder
    if variant:
        require_known(f"config of {dataset}", variant, builder_class.builder_configs)
    options: dict = {"config": variant or None, "with_beam": beam_runner is not None}
    if beam_runner is not None:
        require_packages(f"--beam_runner={beam_runner}", ["apache_beam"])
    if dataset in GENERATED:
        builder = builder_class(data_dir=data_dir, **options)
        _prepare(builder, None, beam_runner)
        return builder
    options["skip_bad_rows"] = skip_bad_rows
    home = _home(dataset, data_dir, manual_dir, skip_bad_rows)
    builder = builder_class(data_dir=home, **options)
    if manual_dir is None and not builder.is_prepared():
        raise ConfigError(
            f"{name} is not prepared in {home}; name your files with --manual_dir=FOLDER"
        )
    if manual_dir is not None:
        _prepare(builder, manual_dir, beam_runner)
        record = {"manual_dir": str(manual_dir.resolve()), "skip_bad_rows": skip_bad_rows}
        write_json(home / "source.json", record)
    return builder


def draw_radiographs(
    ages_months: Sequence[float], size_px: int = 256, seed: int = 0
) -> list[bytes]:
    """Draws phantoms of alternating sex as PNG files.

    Args:
        ages_months: bone age of each phantom in months.
        size_px: height and width in pixels.
        seed: seed of every random choice.
    """
    phantoms = importlib.import_module(f"{_BUILDERS}.hand_phantom.radiograph")
    files = []
    for place, age in enumerate(ages_months):
        rng = np.random.default_rng([seed, place])
        taken = phantoms.take_radiograph(age, place % 2, rng, size_px, variety=0.3)
        encoded = io.BytesIO()
        Image.fromarray(taken.image).save(encoded, "PNG")
        files.append(encoded.getvalue())
    return files


def _prepare(
    builder: tfds.core.DatasetBuilder, manual_dir: Path | None, beam_runner: str | None
) -> None:
    if builder.is_prepared():
        return
    place = Path(builder.data_dir)
    require_writable_folder(place.parent)
    with only_one_process(place, f"preparing {builder.info.full_name} in {place}"):
        _download_and_prepare(builder, manual_dir, beam_runner)


def _download_and_prepare(
    builder: tfds.core.DatasetBuilder, manual_dir: Path | None, beam_runner: str | None
) -> None:
    print(f"preparing {builder.info.full_name}, once", flush=True)
    settings = tfds.download.DownloadConfig(
        manual_dir=str(manual_dir.resolve()) if manual_dir else None, beam_runner=beam_runner
    )
    # TFDS prints that it downloads even if it does not, and its progress bars need a terminal. The
    # setting holds for the whole process, so it is restored afterwards.
    tfds.display_progress_bar(sys.stderr.isatty())
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=settings)
    finally:
        tfds.enable_progress_bar()
    images = sum(split.num_examples for split in builder.info.splits.values())
    print(f"prepared {images} images in {builder.data_dir}", flush=True)


def _home(dataset: str, data_dir: Path, manual_dir: Path | None, skip_bad_rows: bool) -> Path:
    if manual_dir is not None:
        if not manual_dir.is_dir():
            raise ConfigError(f"--manual_dir={manual_dir}: no such folder")
        state = fingerprint(manual_dir) + ("-skipping" if skip_bad_rows else "")
        return data_dir / f"{dataset}-{state}"
    known = sorted(data_dir.glob(f"{dataset}-*/source.json"))
    if len(known) == 1:
        return known[0].parent
    if not known:
        raise ConfigError(
            f"--dataset={dataset} is made from your files: name their folder with "
            "--manual_dir=FOLDER (datasets/"
            f"{dataset}/README.md describes its contents)"
        )
    sources = ", ".join(json.loads(path.read_text())["manual_dir"] for path in known)
    raise ConfigError(f"--dataset={dataset} was prepared from {sources}: choose with --manual_dir")


def fingerprint(folder: Path) -> str:
    """Returns a short hash of the contents of all files in a folder.

    It does not depend on dates or on the location of the folder.
    """
    digest = hashlib.sha256()
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(place, name)
            digest.update(f"{path.relative_to(folder)}\0".encode(errors="surrogateescape"))
            digest.update(_content_of(path))
    return digest.hexdigest()[:10]


def _content_of(path: Path) -> bytes:
    """Returns a hash of a file's content; for archives and large images, of a part of it.

    An archive contains a checksum of each member. For an image, both ends are hashed: a change of
    the pixels also changes the end, which contains a checksum or the end of the compressed data.
    """
    digest = hashlib.sha256(f"{path.stat().st_size}\0".encode())
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                digest.update(f"{member.filename}\0{member.CRC}\0{member.file_size}\n".encode())
        return digest.digest()
    with open(path, "rb") as file:
        if path.suffix.lower() in reading.SUFFIXES:
            digest.update(file.read(_END_BYTES))
            file.seek(max(file.tell(), path.stat().st_size - _END_BYTES))
        digest.update(file.read())
    return digest.digest()

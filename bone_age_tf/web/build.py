"""Builds the web page as a folder of static files: sources, npm packages and an exported model."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bone_age_tf import catalog, reasons, schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.clinical.result_columns import RESULT_COLUMNS
from bone_age_tf.errors import PageError
from bone_age_tf.evaluation import region_norms
from bone_age_tf.files import require_writable_folder
from bone_age_tf.images import decoding, file_kinds, resizing
from bone_age_tf.inference.result import BOTH_SEXES
from bone_age_tf.quality.checker import QualityChecker
from bone_age_tf.regions import frame, proportions
from bone_age_tf.regions.framing import HandFramer
from bone_age_tf.web import dicom_codecs, litert_js
from bone_age_tf.web.clinical_settings import clinical_settings, dicom_settings
from bone_age_tf.web.compression import compress_files, sent_bytes
from bone_age_tf.web.float32_file import convert_to_float32

SOURCES = catalog.packaged_exports() / "web"
"""The page's sources, in a clone or in an installed package."""

SETTINGS_FILE, FILES_FILE = "settings.json", "files.js"
_STATIC = ("index.html", "style.css", "sw.js", "manifest.webmanifest", "icon.svg")
_RUNTIME = "litert"
_LICENSE = SOURCES.parents[1] / "LICENSE"
_MODELS = "models"
_CODECS = "codecs"

MOST_PIXELS = 64_000_000
"""Maximum number of pixels, a film of 40 cm scanned at 50 um; larger images exceed the memory of a
browser tab."""
MOST_FILE_BYTES = 200_000_000

THREADS_FROM_BYTES = 16_000_000
"""Minimum size of a model for the runtime with threads; smaller models predict within a fifth of a
second with one thread, whose runtime starts faster."""


@dataclass(frozen=True)
class Page:
    """A built page.

    Attributes:
        folder: folder of the page.
        version: hash of all its files.
        first_load_bytes: transferred bytes before the first result, without the models and the
            decoders of DICOM files, in the smallest encoding.
        models_bytes: transferred bytes of the models.
        codecs_bytes: transferred bytes of the decoders of DICOM files.
    """

    folder: Path
    version: str
    first_load_bytes: int
    models_bytes: int
    codecs_bytes: int


def build_page(
    bundle: Bundle,
    output: Path,
    variant: str | None = None,
    quality_check: bool = True,
    compress: bool = True,
) -> Page:
    """Builds the page; an earlier page in the same folder is replaced as a whole.

    Args:
        bundle: the model's export.
        output: folder of the page; parent folders are created.
        variant: variant of the export's files; None for the most exact.
        quality_check: whether the page rejects and corrects radiographs, if there is a network for
            the quality check.
        compress: whether compressed versions of the files are written, too.

    Raises:
        PageError: the sources or npm are missing, or the output folder contains something else.
        ModelError: the export cannot be used.
        OSError: the folder cannot be written.
    """
    if not (SOURCES / "index.html").is_file():
        raise PageError(f"{SOURCES}: the page's sources are not there; install bone-age-tf again")
    _check_output(output)
    variant = bundle.variant(variant)
    bundle.predictor(variant)  # raises an error if it cannot be used
    check = (
        catalog.find_network(schema.QUALITY_CHECK, bundle.exports_dir) if quality_check else None
    )
    if check is not None:
        QualityChecker.load(check)  # likewise
    framer = HandFramer(bundle.exports_dir) if bundle.resize == schema.FRAME else None
    modules = litert_js.install(SOURCES)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=output.parent) as temporary:
        folder = Path(temporary) / "page"
        _copy_sources(folder)
        (folder / "LICENSE.txt").write_text(_licenses(modules), "utf-8")
        litert_js.copy_runtime(modules, folder / _RUNTIME)
        dicom_codecs.copy_codecs(modules, folder / _CODECS)
        settings = _settings(variant, quality_check)
        settings["model"] = copied = _copy_model(bundle.folder, folder, variant)
        model_bytes = (folder / copied["folder"] / copied["file"]).stat().st_size
        settings["threads"] = model_bytes >= THREADS_FROM_BYTES
        settings["film_check"] = check and _copy_model(check, folder)
        if framer is not None:
            settings["region_detector"] = _copy_model(framer.folder, folder)
            settings["frame"] = _frame_settings(framer.size_px)
        settings["version"] = version = _hash(folder, settings)
        _write_json(folder / SETTINGS_FILE, settings)
        _write_files_list(folder, version)
        if compress:
            _compress(folder, output)
        sizes = {path: sent_bytes(folder / path) for path in _files(folder)}
        _move_into_place(folder, output)
    return Page(output, version, *_first_load(sizes))


def _check_output(output: Path) -> None:
    require_writable_folder(output.parent)
    if not output.exists() or (output / FILES_FILE).is_file():
        return
    if not output.is_dir() or any(output.iterdir()):
        raise PageError(f"{output}: there is something else than a page; name another --output")


def _copy_sources(folder: Path) -> None:
    folder.mkdir()
    for name in _STATIC:
        shutil.copyfile(SOURCES / name, folder / name)
    shutil.copytree(SOURCES / "js", folder / "js")


def _licenses(modules: Path) -> str:
    """Returns the package's licence, and those of the decoders from npm."""
    return f"{_license()}\n\n{dicom_codecs.read_licenses(modules, SOURCES)}"


def _license() -> str:
    """Returns the package's licence, from its metadata or from the clone."""
    files = importlib.metadata.files("bone-age-tf") or []
    for path in [*(each.locate() for each in files if each.name == "LICENSE"), _LICENSE]:
        if Path(str(path)).is_file():
            return Path(str(path)).read_text("utf-8")
    raise PageError(f"{_LICENSE}: the licence is not there; install bone-age-tf again")


def _copy_model(source: Path, page: Path, variant: str | None = None) -> dict:
    """Copies a file of an export, or its only one, with its metadata; returns its settings.

    Its weights become those of 32 bits, with which browsers are faster.
    """
    metadata = json.loads((source / schema.METADATA_FILE).read_text("utf-8"))
    name, files = source.parent.name, metadata["files"]
    file = files[variant] if variant else next(iter(files.values()))
    folder = page / _MODELS / name
    folder.mkdir(parents=True)
    shutil.copyfile(source / schema.METADATA_FILE, folder / schema.METADATA_FILE)
    (folder / file).write_bytes(convert_to_float32((source / file).read_bytes()))
    return {"folder": f"{_MODELS}/{name}", "file": file, "version": metadata["version"]}


def _settings(variant: str, quality_check: bool) -> dict:
    """Returns the settings with which the page's code does the same as the Python code."""
    return {
        "signature": schema.SERVING_SIGNATURE,
        "variant": variant,
        "refuses_unfamiliar": quality_check,
        "columns": RESULT_COLUMNS,
        "sex_source": schema.FROM_FLAG,
        "both_sexes": BOTH_SEXES,
        "luma": decoding.LUMA,
        "far": decoding.FAR,
        "black": resizing.BLACK,
        "plain": resizing.PLAIN,
        "plain_percent": resizing.PLAIN_PERCENT,
        "step_lines": resizing.STEP_LINES,
        "step_percent": resizing.STEP_PERCENT,
        "thin_edge": resizing.THIN_EDGE,
        "margins": resizing.MARGINS,
        "least_side_px": reasons.LEAST_SIDE_PX,
        "least_range": reasons.LEAST_RANGE,
        "levels_side_px": reasons.LEVELS_SIDE_PX,
        "least_levels": reasons.LEAST_LEVELS,
        "level_share": reasons.LEVEL_SHARE,
        "wide": reasons.WIDE,
        "bright": reasons.BRIGHT,
        "painted_percent": reasons.PAINTED_PERCENT,
        "rim_px": reasons.RIM_PX,
        "sure_turned": reasons.SURE_TURNED,
        "sure_mirrored": reasons.SURE_MIRRORED,
        "sure_inverted": reasons.SURE_INVERTED,
        "sure_whole": reasons.SURE_WHOLE,
        "whole_limit": reasons.WHOLE_LIMIT,
        "perhaps_two": reasons.PERHAPS_TWO,
        "texts": {reason.name.lower(): text for reason, text in reasons.TEXTS.items()},
        "pose_corrections": reasons.POSE_CORRECTIONS,
        "greys_inverted": reasons.GREYS_INVERTED,
        "margins_cropped": reasons.MARGINS_CROPPED,
        "separator": reasons.SEPARATOR,
        "trimmed": reasons.TRIMMED,
        "refusals": {kind: reasons.TEXTS[reason] for kind, reason in reasons.OF_KINDS.items()},
        "least_age_months": schema.MIN_AGE_MONTHS,
        "most_age_months": schema.MAX_AGE_MONTHS,
        "other_kinds": file_kinds.OTHER_KINDS,
        "most_pixels": MOST_PIXELS,
        "most_file_bytes": MOST_FILE_BYTES,
        "regions": {"unusual": region_norms.UNUSUAL, "most_named": region_norms.MOST_NAMED},
        "dicom": dicom_settings(),
        "clinical": clinical_settings(),
    }


def _frame_settings(size_px: int) -> dict:
    """Returns the settings with which the page finds hands as `regions.frame` does.

    Args:
        size_px: side of the region detector's input in pixels.
    """
    half_turn = 180 // reasons.TILT_STEP
    return {
        "size_px": size_px,
        "regions": schema.REGIONS,
        "fingers": proportions.FINGERS,
        "joint_before": dict(proportions.JOINT_BEFORE),
        "length_limits": dict(proportions.LENGTH_LIMITS),
        "gap_limits": dict(proportions.GAP_LIMITS),
        "most_bent_degrees": proportions.MOST_BENT_DEGREES,
        "doubt_limit": frame.DOUBT_LIMIT,
        "lacking_doubt": frame.LACKING_DOUBT,
        "lacking_least": frame.LACKING_LEAST,
        "lacking_limit": frame.LACKING_LIMIT,
        "lacking_share": frame.LACKING_SHARE,
        "more_doubt": frame.MORE_DOUBT,
        "last_shifts": frame.LAST_SHIFTS,
        "sure": frame.SURE,
        "below_wrist": frame.BELOW_WRIST,
        "doubt_of_geometry": frame.DOUBT_OF_GEOMETRY,
        "quarters": frame.QUARTERS,
        "search": frame.SEARCH,
        "closer_looks": frame.CLOSER_LOOKS,
        "settled": frame.SETTLED,
        "view_border": schema.VIEW_BORDER,
        "frame_margin": schema.FRAME_MARGIN,
        "least_tilt": reasons.LEAST_TILT,
        "tilt_step": reasons.TILT_STEP,
        "rotated": [
            reasons.rotated(reasons.TILT_STEP * steps) for steps in range(-half_turn, half_turn + 1)
        ],
        "not_framed": reasons.NOT_FRAMED,
    }


def _hash(folder: Path, settings: dict) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in _files(folder):
        digest.update(path.encode() + b"\0" + (folder / path).read_bytes())
    return digest.hexdigest()[:16]


def _files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def _write_files_list(folder: Path, version: str) -> None:
    """Writes the lists of files that the service worker caches at once and on first use."""
    # The page is listed by the address of its folder, since some servers redirect index.html.
    unlisted = ("index.html", "sw.js", "LICENSE.txt")
    known = [path for path in _files(folder) if path not in unlisted]
    heavy = (f"{_RUNTIME}/wasm/", f"{_MODELS}/")
    later = [path for path in known if path.startswith(heavy)]
    first = ["./", *(path for path in known if path not in later)]
    content = json.dumps({"version": version, "first": first, "later": later}, indent=2)
    (folder / FILES_FILE).write_text(f"self.PAGE = {content};\n", "utf-8")


def _first_load(sizes: dict[str, int]) -> tuple[int, int, int]:
    """Returns the transferred bytes of a first load, of the models and of the DICOM decoders.

    The first number is without the other two.

    Args:
        sizes: transferred bytes by path; includes compressed files, which are not counted.
    """
    counted = {path: size for path, size in sizes.items() if not path.endswith((".br", ".gz"))}
    models = sum(size for path, size in counted.items() if path.startswith(f"{_MODELS}/"))
    codecs = sum(size for path, size in counted.items() if path.startswith(f"{_CODECS}/"))
    used = f"{_RUNTIME}/wasm/{litert_js.RUNTIMES[-1]}."  # one of them, here the largest
    others = [
        path
        for path in counted
        if path.startswith(f"{_RUNTIME}/wasm/") and not path.startswith(used)
    ]
    left_out = sum(counted[path] for path in [*others, "LICENSE.txt"])
    return sum(counted.values()) - models - codecs - left_out, models, codecs


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _compress(folder: Path, output: Path) -> None:
    """Compresses a page's files, or copies the compressed files of an earlier page."""
    paths = [folder / path for path in _files(folder)]
    earlier = {}
    for path in paths:
        before = output / path.relative_to(folder)
        if before.is_file() and before.read_bytes() == path.read_bytes():
            earlier[path] = before
    compress_files(paths, earlier)


def _move_into_place(folder: Path, output: Path) -> None:
    if output.exists():
        os.replace(output, folder.with_name("earlier"))  # deleted with the temporary folder
    os.replace(folder, output)

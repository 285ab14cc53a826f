"""`--mode=export`: writes a trained run as SavedModel, LiteRT and ONNX files."""

from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, evaluate, shared_flags
from bone_age_tf.errors import require_known
from bone_age_tf.export.formats import DEFAULT_FORMATS, FORMATS

NEEDS_TENSORFLOW = True
EXAMPLES = """\
Write a SavedModel and files for devices, compared with Keras and timed:
  {command} --mode=export --workdir=runs/NAME --formats=float32,float16,dynamic,int8,uint8,onnx

With a site's calibration in the files:
  {command} --mode=export --workdir=runs/NAME --calibration=site_calibration.json
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    evaluate.define_flags(values)
    listed = "; ".join(f"{name}: {meaning}" for name, meaning in FORMATS.items())
    flags.DEFINE_list(
        "formats",
        list(DEFAULT_FORMATS),
        f"Which files to write beside the SavedModel. {listed}.",
        flag_values=values,
    )
    shared_flags.text(
        values, "calibration", None, "A site's calibration, from --mode=calibrate, to export along."
    )
    shared_flags.define_quality_check(values, "Put the quality check into the SavedModel.")


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Exports a run."""
    from bone_age_tf.evaluation.site_calibration import read_site_calibration
    from bone_age_tf.files import require_writable_folder

    for form in values.formats:
        require_known("format", form, FORMATS)
    current = evaluate.opened_run(values)
    require_writable_folder(current.exports_dir)
    path = values.calibration
    site = None if path is None else read_site_calibration(Path(path))
    current.export(values.formats, calibration=site, quality_check=values.quality_check)
    return EXIT_OK

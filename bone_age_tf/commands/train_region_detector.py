"""`--mode=train_region_detector`: trains the network that finds the ossification regions."""

from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags, train

NEEDS_TENSORFLOW = RESUMES = True
EXAMPLES = """\
Train on phantoms, then on your own annotations (Pascal VOC files named by image id):
  {command} --mode=train_region_detector --dataset=rsna_bone_age --manual_dir=FOLDER --boxes=FOLDER
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_dataset(values, "phantoms alone")
    shared_flags.text(values, "boxes", None, "Folder of Pascal VOC files named by image id.")
    shared_flags.define_workdir(values, "runs/region_detector")
    shared_flags.define_exports_dir(values)
    shared_flags.define_training(values)


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains, measures and exports the region detector."""
    from bone_age_tf.regions.training import train_and_publish

    train_and_publish(
        values.dataset,
        shared_flags.path_or_none(values.boxes),
        train.data_options(values),
        Path(values.workdir or "runs/region_detector"),
        Path(values.exports_dir),
        values.seed,
        values.precision,
    )
    return EXIT_OK

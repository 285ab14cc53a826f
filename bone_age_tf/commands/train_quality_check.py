"""`--mode=train_quality_check`: trains the network for the quality check of radiographs."""

from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags, train

NEEDS_TENSORFLOW = True
EXAMPLES = """\
Train the network that rejects images without one complete hand and corrects the pose of others:
  {command} --mode=train_quality_check --dataset=rsna_bone_age --manual_dir=FOLDER
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_dataset(values, shared_flags.DEFAULT_DATASET)
    shared_flags.define_exports_dir(values)
    shared_flags.define_seed(values)


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains, measures and exports the quality check."""
    from bone_age_tf.files import require_writable_folder
    from bone_age_tf.quality.training import train_and_publish

    require_writable_folder(values.exports_dir)
    dataset = values.dataset or shared_flags.DEFAULT_DATASET
    train_and_publish(dataset, train.data_options(values), Path(values.exports_dir), values.seed)
    return EXIT_OK

"""`--mode=audit`: looks for wrong labels, copies and unusable images in a dataset."""

import collections
from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags, train
from bone_age_tf.program import program

NEEDS_TENSORFLOW = RESUMES = TAKES_CONFIG = True
DEFAULT_MODEL = "cnn"
EXAMPLES = """\
Look at every image and label of a dataset (quickly, without networks: --folds=0):
  {command} --mode=audit --dataset=rsna_bone_age --manual_dir=FOLDER

Train without what is wrong:
  {command} --dataset=rsna_bone_age --config.leave_out=runs/audit-rsna_bone_age/suspects.csv
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    shared_flags.define_model(values, DEFAULT_MODEL)
    shared_flags.define_dataset(values, shared_flags.DEFAULT_DATASET)
    shared_flags.define_workdir(values, "runs/audit-DATASET")
    shared_flags.define_exports_dir(values)
    shared_flags.define_training(values)
    shared_flags.whole_number(
        values,
        "folds",
        4,
        "Networks that doubt labels, each trained on the others' images, 2 or more; 0 for none.",
        0,
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Audits a dataset and writes the report."""
    from bone_age_tf import config as configs
    from bone_age_tf.bundle import load_quality_checker, load_region_detector
    from bone_age_tf.data import pipeline
    from bone_age_tf.errors import ConfigError
    from bone_age_tf.evaluation.audit_report import PAGE_FILE, SUSPECTS_FILE
    from bone_age_tf.evaluation.auditing import audit_dataset
    from bone_age_tf.evaluation.site_doubts import years_warning
    from bone_age_tf.files import require_writable_folder
    from bone_age_tf.runs import RUNS, prepare_parts
    from bone_age_tf.training.initial_weights import require_source
    from bone_age_tf.training.precision import set_precision

    if values.folds == 1:
        raise ConfigError(
            "--folds=1: no images are left for training; 2 or more, or 0 to skip the labels"
        )
    dataset = values.dataset or shared_flags.DEFAULT_DATASET
    config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    require_source(config)
    folder = Path(values.workdir or RUNS / f"audit-{dataset.replace('/', '-')}")
    require_writable_folder(folder)
    builder, parts = prepare_parts(config, dataset, train.data_options(values))
    set_precision(values.precision, config)
    settings = [f"--config.{key}={text}" for key, text in overrides]
    words = [program(), "--mode=audit", f"--model={values.model}", f"--dataset={dataset}"]
    suspects = audit_dataset(
        config,
        builder,
        parts,
        load_quality_checker(values.exports_dir),
        load_region_detector(values.exports_dir),
        values.folds,
        folder,
        values.seed,
        " ".join([*words, f"--folds={values.folds}", *settings]),
    )
    for split in builder.info.splits:
        ages = pipeline.read_table(builder, pipeline.Part(split)).age_months
        if warning := years_warning(ages):
            print(f"{split}: {warning}")
    print(f"suspects: {dict(collections.Counter(suspect.kind for suspect in suspects)) or 'none'}")
    print(f"report: {folder / PAGE_FILE}\nsuspects: {folder / SUSPECTS_FILE}")
    return EXIT_OK

"""`--mode=transfer_check`: compares initial weights with random ones on the same budget."""

from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, shared_flags, train
from bone_age_tf.errors import ConfigError

NEEDS_TENSORFLOW = RESUMES = TAKES_CONFIG = True
EXAMPLES = """\
Check that initial weights help, against random ones on the same budget:
  {command} --mode=transfer_check --model=resnet50 --config.init=imagenet
"""
define_flags = train.define_flags


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Trains from a source and from random weights and reports which is better."""
    from bone_age_tf import config as configs
    from bone_age_tf.evaluation.comparison import compare, transfer_report
    from bone_age_tf.files import replace_file, write_json
    from bone_age_tf.runs import begin_run, new_workdir, predictions_of

    dataset = values.dataset or shared_flags.DEFAULT_DATASET
    config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    if config.init == "random":
        raise ConfigError(
            "--mode=transfer_check needs a source, such as --config.init=imagenet or "
            "--config.init=runs/NAME"
        )
    workdir = Path(values.workdir or new_workdir(config, f"transfer-{dataset}"))
    predictions = {}
    for start, its_config in (("random", configs.without_transfer(config)), ("source", config)):
        current = begin_run(
            its_config,
            workdir / start,
            values.seed,
            dataset,
            train.data_options(values),
            values.precision,
            Path(values.exports_dir),
        )
        current.train()
        predictions[start] = predictions_of(current)
    comparison = compare(predictions["random"], predictions["source"], values.seed)
    report = transfer_report(comparison, config, str(current.parts["test"]), values.seed)
    write_json(workdir / "transfer.json", comparison)
    replace_file(workdir / "transfer.md", report.encode())
    print(f"{report}\nwritten: {workdir / 'transfer.md'}")
    return EXIT_OK

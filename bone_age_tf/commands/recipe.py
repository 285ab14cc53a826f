"""`--mode=recipe`: trains in several stages; from a pack also without TensorFlow."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from bone_age_tf import schema
from bone_age_tf.commands import EXIT_OK, shared_flags, train
from bone_age_tf.errors import ConfigError
from bone_age_tf.program import program
from bone_age_tf.recipes.names import RECIPES

if TYPE_CHECKING:
    from bone_age_tf.recipes.recipe import Recipe
    from bone_age_tf.settings import Config
    from bone_age_tf.training.source import TrainingData

NEEDS_KERAS = RESUMES = TAKES_CONFIG = True
EXAMPLES = """\
Train in several stages by a recipe, the shipped weights for instance; a second call resumes:
  {command} --mode=recipe --recipe=boxed --manual_dir=FOLDER

With another Keras backend, from a pack:
  {command} --mode=pack --recipe=boxed --manual_dir=FOLDER --output=boxed.npz
  KERAS_BACKEND=jax {command} --mode=recipe --recipe=boxed --pack=boxed.npz
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    define_recipe(values)
    shared_flags.define_files(values)
    shared_flags.define_workdir(values, "runs/RECIPE")
    shared_flags.define_exports_dir(values)
    meaning = f"Number format of training: {', '.join(schema.PRECISIONS)}."
    shared_flags.text(values, "precision", schema.PRECISIONS[0], meaning)
    shared_flags.define_distribution(values)
    shared_flags.text(
        values,
        "pack",
        None,
        "File that --mode=pack wrote, or the first part of its name, to train from. "
        "KERAS_BACKEND=jax or torch need one.",
    )
    flags.DEFINE_float(
        "stop_after_minutes",
        0.0,
        "Interrupt the training after that time; the same command resumes it. 0: never.",
        lower_bound=0.0,
        flag_values=values,
    )


def define_recipe(values: flags.FlagValues) -> None:
    """Defines which recipe is used."""
    listed = "; ".join(f"{name}: {text}" for name, text in RECIPES.items())
    shared_flags.text(values, "recipe", None, f"Which recipe. {listed}.")


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Runs all stages of a recipe; with TensorFlow, evaluates and exports the last one too.

    Raises:
        ConfigError: the recipe or the pack does not exist, or a stage cannot be run; see
            `stages.StageRun`.
    """
    recipe = chosen_recipe(values)
    if values.distribution == schema.MULTIWORKER:
        raise ConfigError(
            "--distribution=multiworker has no effect on recipes, whose stages are on one machine; "
            "use --distribution=mirrored, or --mode=train"
        )
    import keras

    from bone_age_tf.files import require_writable_folder
    from bone_age_tf.recipes.stages import REPORT_FILE, StageRun
    from bone_age_tf.training.distribution import make_distribution
    from bone_age_tf.training.precision import set_precision

    distribution = make_distribution(values.distribution)
    config = recipe.config(recipe.stages[0], "random", overrides)
    workdir = Path(values.workdir or Path("runs") / recipe.name)
    require_writable_folder(workdir)
    exports = keras.backend.backend() == "tensorflow"
    if exports:
        require_writable_folder(values.exports_dir)
    record = {
        "dataset": recipe.dataset,
        "manual_dir": values.manual_dir,
        "skip_bad_rows": values.skip_bad_rows,
    }
    minutes = values.stop_after_minutes
    stages = StageRun(
        recipe,
        _data(values, recipe, config),
        workdir,
        record,
        overrides,
        set_precision(values.precision, config),
        time.monotonic() + 60 * minutes if minutes else None,
        distribution,
    )
    last = stages.run()
    print(f"report: {workdir / REPORT_FILE}")
    if exports:
        from bone_age_tf.runs import open_run

        options = train.data_options(values)
        return train.finish(open_run(last, None, options, Path(values.exports_dir)))
    print(
        f"evaluate and export with TensorFlow: {program()} --mode=evaluate "
        f"--workdir={last} --manual_dir=DIR, then --mode=export"
    )
    return EXIT_OK


def chosen_recipe(values: flags.FlagValues) -> "Recipe":
    """Returns the recipe that `--recipe` names.

    Raises:
        ConfigError: no recipe or an unknown recipe is named, or a flag contradicts it.
    """
    from bone_age_tf.recipes.catalog import load_recipe

    if not values.recipe:
        listed = "".join(f"\n  {name:16} {text}" for name, text in RECIPES.items())
        raise ConfigError(f"--mode=recipe needs --recipe=NAME:{listed}")
    for name in ("model", "dataset", "seed"):
        if name in values and values[name].present:
            raise ConfigError(
                f"--{name} has no effect with --recipe: bone_age_tf/recipes/{values.recipe}.py "
                "defines the model and the data"
            )
    return load_recipe(values.recipe)


def _data(values: flags.FlagValues, recipe: "Recipe", config: "Config") -> "TrainingData":
    """Returns the images of the pack that `--pack` names, or of the prepared dataset."""
    import keras

    if values.pack:
        from bone_age_tf.data.pack import read_pack
        from bone_age_tf.data.packed import PackedData

        pack = read_pack(Path(values.pack))
        print(f"pack {values.pack}: {len(pack)} images of {pack.facts.get('dataset')}", flush=True)
        return PackedData(pack)
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise ConfigError(
            f"KERAS_BACKEND={backend} trains from a pack: write one with TensorFlow, "
            f"{program()} --mode=pack --recipe={recipe.name}, and name it with --pack=FILE"
        )
    from bone_age_tf.native_output import native_stderr_held_back

    with native_stderr_held_back():
        from bone_age_tf.data.prepared import PreparedData
        from bone_age_tf.runs import prepare_parts
    return PreparedData(*prepare_parts(config, recipe.dataset, train.data_options(values)))

"""The mode that runs a recipe. Imports TensorFlow only where it is the backend."""

import time
from pathlib import Path

import ml_collections
from absl import flags, logging

from bone_age_tf.errors import ConfigError
from bone_age_tf.files import require_writable_folder
from bone_age_tf.native_output import native_stderr_held_back
from bone_age_tf.recipes.catalog import RECIPES, load_recipe
from bone_age_tf.recipes.recipe import Recipe
from bone_age_tf.training.source import TrainingData

RUNS = Path("runs")


def run_recipe(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Runs all stages of a recipe; with TensorFlow, evaluates and exports the last one too.

    Raises:
        ConfigError: no such recipe or pack, or a stage that cannot be run; see `stages.StageRun`.
    """
    logging.set_verbosity(logging.ERROR)
    recipe = chosen_recipe(values)
    import keras

    from bone_age_tf.recipes.stages import REPORT_FILE, StageRun
    from bone_age_tf.training.precision import set_precision

    config = recipe.config(recipe.stages[0], "random", overrides)
    workdir = Path(values.workdir or RUNS / recipe.name)
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
    run = StageRun(
        recipe,
        _data(values, recipe, config),
        workdir,
        record,
        overrides,
        set_precision(values.precision, config),
        time.monotonic() + 60 * minutes if minutes else None,
    )
    last = run.run()
    print(f"report: {workdir / REPORT_FILE}")
    if exports:
        from bone_age_tf import modes

        return modes.finish(values, last)
    print(
        "evaluate and export with TensorFlow: python run.py --mode=evaluate "
        f"--workdir={last} --manual_dir=DIR, then --mode=export"
    )
    return 0


def chosen_recipe(values: flags.FlagValues) -> Recipe:
    """Returns the recipe that `--recipe` names.

    Raises:
        ConfigError: none is named, there is no such recipe, or a flag contradicts it.
    """
    if not values.recipe:
        listed = "".join(f"\n  {name:16} {text}" for name, text in RECIPES.items())
        raise ConfigError(f"--mode={values.mode} needs --recipe=NAME:{listed}")
    for name in ("model", "dataset", "seed"):
        if values[name].present:
            raise ConfigError(
                f"--{name} has no effect with --recipe: bone_age_tf/recipes/{values.recipe}.py "
                "says which model learns from which data"
            )
    return load_recipe(values.recipe)


def _data(
    values: flags.FlagValues, recipe: Recipe, config: ml_collections.ConfigDict
) -> TrainingData:
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
            f"python run.py --mode=pack --recipe={recipe.name}, and name it with --pack=FILE"
        )
    with native_stderr_held_back():
        from bone_age_tf import modes
    return modes.prepared_data(values, config, recipe.dataset)

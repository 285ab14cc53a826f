"""`--mode=pack`: writes a prepared dataset as one compact file."""

from pathlib import Path

from absl import flags

from bone_age_tf.commands import EXIT_OK, recipe, shared_flags, train
from bone_age_tf.schema import FRAME

NEEDS_TENSORFLOW = TAKES_CONFIG = True
EXAMPLES = """\
Write the images and labels of a recipe's dataset, for training without TensorFlow:
  {command} --mode=pack --recipe=boxed --manual_dir=FOLDER --output=boxed.npz
"""


def define_flags(values: flags.FlagValues) -> None:
    """Defines the mode's flags."""
    recipe.define_recipe(values)
    shared_flags.define_model(values)
    shared_flags.define_dataset(values, f"the recipe's, or {shared_flags.DEFAULT_DATASET}")
    shared_flags.define_seed(values)
    shared_flags.text(values, "output", None, "The file to write. Default: DATASET.npz.")
    shared_flags.whole_number(
        values,
        "pack_px",
        None,
        "Longer side of the packed images, 0 for theirs. Default: the recipe's, or theirs.",
        0,
    )
    shared_flags.whole_number(
        values,
        "pack_quality",
        None,
        "JPEG quality, 0 for PNG. Default: the recipe's, or PNG.",
        0,
        95,
    )
    flags.DEFINE_float(
        "part_mb",
        0.0,
        "The largest size of a file in MB; larger packs are written in parts. 0: one file.",
        lower_bound=0.0,
        flag_values=values,
    )


def run(values: flags.FlagValues, overrides: list[tuple[str, str]]) -> int:
    """Writes the images and labels of a prepared dataset as a pack."""
    from bone_age_tf import config as configs
    from bone_age_tf.data import packing
    from bone_age_tf.data.pack import PARTS, make_pack, write_pack
    from bone_age_tf.files import require_writable_file
    from bone_age_tf.progress import shown
    from bone_age_tf.runs import prepare_parts

    if values.recipe:
        chosen = recipe.chosen_recipe(values)
        dataset, longer_side_px, quality = chosen.dataset, chosen.pack_px, chosen.pack_quality
        config = chosen.config(chosen.stages[0], "random", overrides)
    else:
        dataset = values.dataset or shared_flags.DEFAULT_DATASET
        longer_side_px, quality = 0, 0
        config = configs.load_config(values.model, dataset.partition("/")[0], overrides)
    longer_side_px = longer_side_px if values.pack_px is None else values.pack_px
    quality = quality if values.pack_quality is None else values.pack_quality
    path = Path(values.output or f"{dataset.replace('/', '-')}.npz")
    require_writable_file(path)
    builder, parts = prepare_parts(config, dataset, train.data_options(values))
    facts = {
        "dataset": builder.info.full_name,
        "longer_side_px": longer_side_px,
        "jpeg_quality": quality,
    }
    if config.resize == FRAME:
        facts["resize"] = FRAME
    rows = packing.examples(builder, parts, longer_side_px, quality, resize=config.resize)
    pack = make_pack(shown(rows, packing.count(builder, parts), "packing"), facts)
    write_pack(path, pack, int(values.part_mb * 1e6))
    sizes = ", ".join(f"{len(pack.places(name))} {name}" for name in PARTS)
    megabytes = sum(array.nbytes for array in pack.arrays.values()) / 1e6
    print(f"{path}: {sizes}; {megabytes:.1f} MB, SHA-256 {pack.digest[:16]}")
    return EXIT_OK

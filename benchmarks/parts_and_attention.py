"""Evaluates part selection and attention on phantoms and on annotated radiographs.

python benchmarks/parts_and_attention.py parts
python benchmarks/parts_and_attention.py attention --boxes=../shared/ossification_roi \
    --manual_dir=../shared/rsna_bone_age_299px
python benchmarks/parts_and_attention.py table

`parts` trains PRSNet, PRSNet without relation or selection, and its backbone with global pooling,
on the same phantoms for the same number of steps, and evaluates the selected parts. A box is at an
ossification region if its centre lies in the true box of one of the 17 regions, or if the centre of
a region lies in it; both conditions are also printed separately. The arms `told` receive crops
(32 px) of true boxes without the whole image, to measure the possible effect of parts: `told` all
17 in order, `told_unordered` without order, `told_six` six random ones without order. `told_prsnet`
is PRSNet with the whole image and six true boxes in order instead of its selection. `attention`
trains attention_vgg and measures the share of its attention in those boxes. Both are compared with
chance: all anchors, and the share of the image that the boxes cover. The phantoms are hands of any
size at any age, since networks need not use the bones if the size depends on the age. Results are
stored in `--work_dir`, and a second start continues.
"""

import argparse
import functools
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
import numpy as np
import tensorflow as tf
from bone_age_datasets.hand_phantom import truth

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.images import reading, resizing
from bone_age_tf.models import heads, part_layers, prsnet
from bone_age_tf.models.build import build_model
from bone_age_tf.models.photometry import build_photometry
from bone_age_tf.models.resnet import BasicResidualNetwork
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions.boxes import padded_boxes, read_annotation
from bone_age_tf.training.losses import build_losses
from compare_models import fit_steps
from seeds import measure_all, print_table

BATCH = 16
ARMS = {
    "backbone": {"relation": False, "selection": False},
    "relation": {"relation": True, "selection": False},
    "selection": {"relation": False, "selection": True},
    "prsnet": {"relation": True, "selection": True},
}
REGIONS, TOLD_PX = 17, 32
TOLD = {
    "told": (REGIONS, True),
    "told_unordered": (REGIONS, False),
    "told_six": (6, False),
    "told_prsnet": (6, True),
}
"""Number of true regions that an arm receives, and whether they are in order."""
OF_PRSNET = ("wrist", "radius", "ulna", "PIP3", "MCP3", "DIP3")
"""Regions that `told_prsnet` receives."""


def prepared(options: argparse.Namespace, model: str, dataset: str, **settings):
    """Returns the config, the builder and the parts of a run."""
    config = configs.load_config(model, dataset.partition("/")[0])
    with config.unlocked():
        config.update({"stage_scales": (), "stage_ends": (), "batch_size": BATCH} | settings)
        if config.dataset == "hand_phantom":  # no two are alike
            config.augmentation.policy = "none"
    builder = prepare_dataset(dataset, options.data_dir, options.manual_dir)
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    return config, builder, parts


def phantoms_with_regions(
    builder, split: str = "test"
) -> tuple[dict, np.ndarray, list[np.ndarray]]:
    """Returns inputs, ages [N] and region boxes [R, 4] of every phantom of a split."""
    images, sexes, ages, regions = [], [], [], []
    for row in builder.as_dataset(split=split, shuffle_files=False).as_numpy_iterator():
        images.append(row["image"])
        sexes.append([row["sex"]])
        ages.append(row["age_months"])
        regions.append(row["regions"]["bbox"])
    inputs = {
        schema.IMAGE: np.stack(images),
        schema.SEX: np.array(sexes, np.float32),
    }
    return inputs, np.array(ages), regions


def on_a_region(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Returns [N] bool: whether the centre of each box [N, 4] lies in one of the regions [R, 4]."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    return ((centres >= regions[:, :2]) & (centres <= regions[:, 2:])).all(axis=2).any(axis=1)


def covers_a_region(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Returns [N] bool: whether the centre of one of the regions [R, 4] lies in each box [N, 4]."""
    centres = (regions[:, :2] + regions[:, 2:]) / 2
    inside = (centres >= boxes[:, None, :2]) & (centres <= boxes[:, None, 2:])
    return inside.all(axis=2).any(axis=1)


JUDGES = {
    "at a region": lambda boxes, regions: (
        on_a_region(boxes, regions) | covers_a_region(boxes, regions)
    ),
    "with their centre in a region": on_a_region,
    "with a region's centre in them": covers_a_region,
}


def anchors(network: keras.Model) -> np.ndarray:
    """Returns all anchors [N, 4] of a PRSNet of known size."""
    grids = [layer for layer in network.layers if isinstance(layer, part_layers.Anchors)]
    found = [np.array(layer(np.zeros((1, *layer.input.shape[1:]), "f4")))[0] for layer in grids]
    return np.concatenate(found)


def measure_parts(options: argparse.Namespace, arm: str, seed: int) -> dict[str, float]:
    """Trains an arm; returns its error and, if it selects parts, figures of the selection."""
    settings = ARMS[arm] | {"image_size_px": options.size_px, "base_filters": options.filters}
    config, builder, parts = prepared(options, "prsnet", options.phantoms, **settings)
    network, speed = fit_steps(config, builder, parts, seed, options.steps)
    inputs, ages, regions = phantoms_with_regions(builder)
    outputs = network.predict(inputs, batch_size=32, verbose=0)
    found = {
        "MAE": float(np.abs(outputs[schema.AGE_MONTHS][:, 0] - ages).mean()),
        "training images a second": speed,
    }
    if config.selection:
        every = anchors(build_model(config, config.image_size_px))
        chosen, kept = outputs[schema.PART_BOXES], outputs[schema.PART_KEPT] > 0
        for what, judge in JUDGES.items():
            right = np.array([judge(*pair) for pair in zip(chosen, regions, strict=True)])
            found[f"selected boxes {what}"] = float(right[kept].mean())
            found[f"boxes of every kind {what}"] = float(right.mean())
            chance = [judge(every, true).mean() for true in regions[:100]]
            found[f"all anchors {what}"] = float(np.mean(chance))
        errors = np.abs(outputs[schema.PART_AGES] - ages[:, None])
        found["selected boxes a hand"] = float(kept.sum(axis=1).mean())
        found["MAE of the best kind of part alone"] = float(errors.mean(axis=0).min())
        found["MAE of the worst kind of part alone"] = float(errors.mean(axis=0).max())
    return found


def measure_told(options: argparse.Namespace, arm: str, seed: int) -> dict[str, float]:
    """Trains the backbone on crops of the true regions; returns its error."""
    count, ordered = TOLD[arm]
    settings = {"image_size_px": options.size_px, "base_filters": options.filters}
    config, builder, _ = prepared(options, "prsnet", options.phantoms, **settings)
    keras.utils.set_random_seed(seed)
    named = arm == "told_prsnet"
    if named:
        config.update(parts=count, used_parts=count)
    network = told_prsnet(config) if named else told_network(config, count, ordered)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        options.steps - options.steps // 10,
        alpha=0.01,
        warmup_target=config.learning_rate,
        warmup_steps=options.steps // 10,
    )
    optimizer = keras.optimizers.AdamW(
        rate, weight_decay=config.weight_decay, global_clipnorm=config.clip_norm
    )
    losses, weights = build_losses(config)
    wanted = [name for name in network.output if losses.get(name)]
    network.compile(
        optimizer,
        {name: losses[name] for name in wanted},
        loss_weights={name: weights[name] for name in wanted},
    )
    inputs, ages, regions = phantoms_with_regions(builder, "train")
    given = [truth.REGIONS.index(name) for name in OF_PRSNET] if named else slice(None)
    answers = dict.fromkeys(wanted, ages[:, None].astype(np.float32))
    boxes = about(regions)[:, given]
    rows = tf.data.Dataset.from_tensor_slices(({**inputs, "regions": boxes}, answers))
    rows = rows.shuffle(len(boxes), seed=seed).repeat()
    if not ordered:
        rows = rows.map(functools.partial(some_regions, count=count))
    rows = rows.batch(BATCH).prefetch(2)
    network.fit(rows, steps_per_epoch=options.steps, shuffle=False, verbose=0)
    inputs, ages, regions = phantoms_with_regions(builder)
    boxes = about(regions)[:, given]
    if not ordered:
        order = np.random.default_rng(seed).random(boxes.shape[:2]).argsort(axis=1)[:, :count]
        boxes = np.take_along_axis(boxes, order[:, :, None], axis=1)
    outputs = network.predict({**inputs, "regions": boxes}, batch_size=32, verbose=0)
    return {"MAE": float(np.abs(outputs[schema.AGE_MONTHS][:, 0] - ages).mean())}


def some_regions(inputs: dict, wanted, count: int):
    """Returns an example with a number of random regions in random order."""
    return inputs | {"regions": tf.random.shuffle(inputs["regions"])[:count]}, wanted


def told_network(config, count: int, ordered: bool) -> keras.Model:
    """Builds PRSNet's backbone on crops of given regions.

    In order, the features of the crops are concatenated; otherwise each is joined with its location
    and they are pooled.
    """
    image = keras.Input((config.image_size_px, config.image_size_px, 1), name=schema.IMAGE)
    sex = keras.Input((1,), name=schema.SEX)
    regions = keras.Input((count, 4), name="regions")
    grey = build_photometry(image, config, channels=1)
    backbone = BasicResidualNetwork(
        config.base_filters, prsnet.BLOCKS, prsnet.STRIDES, pooled=False
    )
    crops = part_layers.CropParts(TOLD_PX)([grey, regions])
    vectors = keras.layers.GlobalAveragePooling2D()(backbone(crops, "crops_")[-1])
    vectors = part_layers.GroupParts(count)(vectors)
    if ordered:
        features = keras.layers.Flatten()(keras.layers.Dense(32, "relu")(vectors))
    else:
        places = keras.layers.Dense(32, "relu")(keras.layers.Dense(32, "relu")(regions))
        read = keras.layers.Concatenate()([vectors, places])
        read = keras.layers.Dense(128, "relu")(keras.layers.Dense(128, "relu")(read))
        pools = keras.layers.GlobalAveragePooling1D(), keras.layers.GlobalMaxPooling1D()
        features = keras.layers.Concatenate()([pool(read) for pool in pools])
    outputs = heads.build_head(features, sex, config)
    wanted = (schema.DISTRIBUTION, schema.AGE_MONTHS)
    return keras.Model(
        {schema.IMAGE: image, schema.SEX: sex, "regions": regions},
        {name: outputs[name] for name in wanted},
    )


def told_prsnet(config) -> keras.Model:
    """Builds PRSNet without its selection: it uses the parts in given boxes."""
    image = keras.Input((config.image_size_px, config.image_size_px, 1), name=schema.IMAGE)
    sex = keras.Input((1,), name=schema.SEX)
    regions = keras.Input((config.parts, 4), name="regions")
    grey = build_photometry(image, config, channels=1)
    backbone = BasicResidualNetwork(
        config.base_filters, prsnet.BLOCKS, prsnet.STRIDES, pooled=False
    )
    coarse = backbone(grey)[-1]
    relation = part_layers.PartRelation(max(8, coarse.shape[-1] // 4), name="part_relation")
    whole = keras.layers.GlobalAveragePooling2D()(relation(coarse)[0])
    kept = keras.layers.Lambda(lambda boxes: keras.ops.ones_like(boxes[..., 0]))(regions)
    outputs = prsnet.read_parts(grey, whole, regions, kept, sex, backbone, config)
    del outputs[schema.PART_BOXES]
    return keras.Model({schema.IMAGE: image, schema.SEX: sex, "regions": regions}, outputs)


def about(regions: list[np.ndarray]) -> np.ndarray:
    """Returns squares [N, 17, 4] around the regions, with 1.6 times their longer side."""
    boxes = np.stack(regions).astype(np.float32)
    centres = (boxes[..., :2] + boxes[..., 2:]) / 2
    half = 0.8 * (boxes[..., 2:] - boxes[..., :2]).max(axis=2, keepdims=True)
    return np.concatenate([centres - half, centres + half], axis=2)


def annotated(options: argparse.Namespace, builder, size_px: int):
    """Returns inputs and region boxes of the annotated radiographs in the training set."""
    read = {path.stem: read_annotation(path) for path in sorted(options.boxes.glob("*.xml"))}
    boxes = {name: np.concatenate(list(found.values())) for name, found in read.items() if found}
    images, sexes, regions = [], [], []
    for row in pipeline.read_encoded(builder, pipeline.Part("train")).as_numpy_iterator():
        name = row["image_id"].decode()
        if name in boxes:
            image = reading.read_radiograph(row["image"], name)
            images.append(resizing.resize(image, size_px)[..., None])
            sexes.append([row["sex"]])
            regions.append(padded_boxes(boxes[name], *image.shape))
    inputs = {schema.IMAGE: np.stack(images), schema.SEX: np.array(sexes, np.float32)}
    return inputs, regions


def mass_in_regions(attention: np.ndarray, regions: list[np.ndarray]) -> tuple[float, float]:
    """Returns the share of attention in the boxes and the share of the image that they cover.

    Args:
        attention: [N, H, W], a sum of 1 each.
        regions: N of [R, 4] boxes, fractions.
    """
    shares, areas = [], []
    fine = 8  # places of the map are cut into 8 x 8, so that boxes need not follow them
    for one, boxes in zip(attention, regions, strict=True):
        large = np.kron(one, np.full((fine, fine), 1 / fine**2))
        inside = np.zeros(large.shape, bool)
        for box in boxes:
            top, left, bottom, right = np.rint(box * [*large.shape, *large.shape]).astype(int)
            inside[max(top, 0) : bottom, max(left, 0) : right] = True
        shares.append(large[inside].sum())
        areas.append(inside.mean())
    return float(np.mean(shares)), float(np.mean(areas))


def measure_attention(options: argparse.Namespace, kind: str, seed: int) -> dict[str, float]:
    """Trains attention_vgg on phantoms or radiographs; returns its attention to the regions."""
    settings = {"base_filters": options.filters}
    if kind == "phantoms":
        settings["image_size_px"] = options.size_px
        config, builder, parts = prepared(options, "attention_vgg", options.phantoms, **settings)
        inputs, _, regions = phantoms_with_regions(builder)
    else:
        config, builder, parts = prepared(options, "attention_vgg", "rsna_bone_age", **settings)
        inputs, regions = annotated(options, builder, config.image_size_px)
    network, _ = fit_steps(config, builder, parts, seed, options.steps)
    outputs = network.predict(inputs, batch_size=32, verbose=0)
    found: dict[str, float] = {"n": len(regions)}
    for name in schema.ATTENTIONS:
        share, area = mass_in_regions(outputs[name], regions)
        found[f"{name}, share in regions"] = share
        found[f"{name}, over chance"] = share / area
    found["chance"] = area
    return found


def main() -> None:
    """Runs the selected experiments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=("parts", "attention", "table"))
    parser.add_argument("--arms", nargs="+", choices=[*ARMS, *TOLD], default=[*ARMS, *TOLD])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=2000, help=f"of {BATCH} images")
    parser.add_argument("--size_px", type=int, default=128, help="of phantoms")
    parser.add_argument("--filters", type=int, default=16, help="base_filters of every network")
    parser.add_argument("--phantoms", default="hand_phantom/only_bones")
    parser.add_argument("--boxes", type=Path, help="Pascal VOC files of annotated radiographs")
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--work_dir", type=Path, default=Path("runs/parts_and_attention"))
    options = parser.parse_args()
    measurements = {}
    if "parts" in options.what:
        for arm in options.arms:
            measure = measure_told if arm in TOLD else measure_parts
            measurements[f"parts {arm}"] = functools.partial(measure, options, arm)
    if "attention" in options.what:
        for kind in ["phantoms", *(["real"] if options.boxes else [])]:
            measurements[f"attention {kind}"] = functools.partial(measure_attention, options, kind)
    folder = options.work_dir / "results"
    measure_all(measurements, options.seeds, folder)
    print_table(folder)


if __name__ == "__main__":
    main()

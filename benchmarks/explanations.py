"""Compares explanation methods on every network with the location of the bones.

python benchmarks/explanations.py phantoms
python benchmarks/explanations.py real --boxes=../shared/ossification_roi \
    --manual_dir=../shared/rsna_bone_age_299px
python benchmarks/explanations.py table

`phantoms` trains small networks on phantoms whose size is independent of the age, and explains
held-out phantoms. `real` explains annotated radiographs with networks that were trained on
radiographs: those in `--networks` (NAME=FOLDER of a run or an export), by default the shipped
export. Most annotated radiographs are among their training images, but no network was trained with
boxes. Columns:

bones   pointing game (Zhang et al. 2016): share of images for which the maximum of the map lies in
        one of the 17 regions. Chance is the mean share of the image that the regions cover. In
        brackets: the same for images that were not in the training data. The wrist is at nearly the
        same place in all radiographs, so that a fixed place has a high share without any network;
        the row of chance gives the share of the best fixed place.
moved   the same with randomly rotated, smaller and shifted images, for which a fixed place has a
        low share.
mass    share of the map in the regions, divided by chance.
del     deletion: mean change of the age in months while the 1, 2, 5, 10 and 20 % of the pixels with
        the highest values become black, divided by the change for pixels in random squares. Above
        1 the map shows pixels that influence the prediction.
ins     insertion: mean distance from the prediction in months while the same pixels are inserted
        into a blurred image, divided by the distance for random squares. Below 1 is good.
sanity  rank correlation (Spearman) with the map of the same network with random weights and batch
        norms adapted to the images (Adebayo et al. 2018), and SSIM. A method fails above 0.5,
        since its map is independent of what the network has learned.
time    processor time of a map, divided by that of a forward pass of the same image, both compiled,
        with batches of 1.

Settings were tuned on images with other ids (`--tuning`) than those in the table.
"""

import argparse
import functools
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import numpy as np
from scipy.stats import spearmanr

from bone_age_tf import config as configs
from bone_age_tf import schema
from bone_age_tf.bundle import Bundle
from bone_age_tf.data import pipeline
from bone_age_tf.explain import methods
from bone_age_tf.explain.network import ExplainedNetwork
from bone_age_tf.explain.places import box_map
from bone_age_tf.models.build import load_network
from bone_age_tf.prepare import prepare_dataset
from bone_age_tf.regions import boxes as region_boxes
from bone_age_tf.regions import views
from compare_models import fit_steps
from parts_and_attention import prepared
from seeds import measure_all, results

SHARES = (0.01, 0.02, 0.05, 0.1, 0.2)
FAILS = 0.5
TURN, SIZES, SHIFT = 20.0, (0.6, 0.85), 0.15
"""Rotation in degrees, range of the zoom, and shift as a fraction of the side of moved images."""
PHANTOM_NETWORKS = {
    "compact": {"base_filters": 12},
    "efficientnet_lite0": {"base_filters": 16},
    "attention_vgg": {"base_filters": 8},
    "prsnet": {"base_filters": 12},
    "cnn": {"base_filters": 12},
    "resnet18": {"base_filters": 12},
    "vgg_residual": {"base_filters": 8},
    "vgg16": {"base_filters": 8},
    "resnet34": {"base_filters": 12},
    # These have their published widths, and therefore smaller images.
    "resnet50": {"image_size_px": 64},
    "resnet101": {"image_size_px": 64},
    "resnet152": {"image_size_px": 64},
}
STEPS = 2000


def network_on_phantoms(options: argparse.Namespace, name: str):
    """Returns a network that was trained once on phantoms, and its config."""
    settings = {"image_size_px": 128, **PHANTOM_NETWORKS[name]}
    config, builder, parts = prepared(options, name, options.phantoms, **settings)
    path = options.work_dir / f"{name}.keras"
    if not path.exists():
        network, _ = fit_steps(config, builder, parts, 0, options.steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        network.save(path)
    return load_network(path), config


def phantom_cases(options: argparse.Namespace, config) -> dict:
    """Returns images, sexes, ages and boxes of phantoms: validation for tuning, else test."""
    builder = prepare_dataset(options.phantoms, options.data_dir, None)
    split = "validation" if options.tuning else "test"
    hands = region_boxes.read_phantoms(builder, split, config.image_size_px, options.count)
    table = pipeline.read_table(builder, pipeline.Part(split))
    return {
        "images": hands.images[..., None].astype(np.float32),
        "sexes": table.sex[: len(hands)],
        "ages": table.age_months[: len(hands)],
        "boxes": hands.boxes,
        "unseen": np.ones(len(hands), bool),
    }


def real_cases(options: argparse.Namespace, config) -> dict:
    """Returns the same for annotated radiographs: a third of the ids for tuning, else the rest."""
    builder = prepare_dataset("rsna_bone_age/px512", options.data_dir, options.manual_dir)
    hands = region_boxes.read_annotated(
        builder, options.boxes, config.image_size_px, resize=config.resize
    )
    tuning = region_boxes.held_out((f"tune {name}" for name in hands.image_id), len(hands) // 3)
    chosen = np.array([(f"tune {name}" in tuning) == options.tuning for name in hands.image_id])
    table = pipeline.read_table(builder, pipeline.Part("train"))
    rows = {Path(name).stem: row for row, name in enumerate(table.image_id)}
    places = [rows[name] for name in hands.image_id]
    found = hands.chosen(chosen).chosen(np.arange(min(options.count, int(chosen.sum()))))
    keep = np.flatnonzero(chosen)[: len(found)]
    parts = pipeline.choose_parts(
        list(builder.info.splits), config.holdout_fraction, config.use_validation_split
    )
    trained_on = {Path(name).stem for name in pipeline.read_table(builder, parts["train"]).image_id}
    return {
        "images": found.images[..., None].astype(np.float32),
        "sexes": table.sex[places][keep],
        "ages": table.age_months[places][keep],
        "boxes": found.boxes,
        "unseen": np.array([name not in trained_on for name in found.image_id]),
    }


def inside(boxes: np.ndarray, size_px: int) -> np.ndarray:
    """Returns [S, S] bool, the pixels in any of the boxes [17, 4]."""
    known = boxes[np.isfinite(boxes[:, 0])]
    return box_map(known, np.ones(len(known)), size_px) > 0


def moved_cases(cases: dict, seed: int) -> dict:
    """Returns randomly rotated, smaller and shifted images with their boxes."""
    random = np.random.default_rng(seed)
    images, boxes = [], []
    for image, own in zip(cases["images"], cases["boxes"], strict=True):
        size = len(image)
        middle = (size - 1) / 2
        matrix = cv2.getRotationMatrix2D(
            (middle, middle), random.uniform(-TURN, TURN), random.uniform(*SIZES)
        )
        matrix[:, 2] = matrix[:, 2] + random.uniform(-SHIFT, SHIFT, 2) * size
        images.append(region_boxes.moved(image[..., 0], matrix, 0.0)[..., None])
        in_parts = matrix.copy()  # of the side, from the corner and not from a pixel's centre
        in_parts[:, 2] = (matrix[:, 2] + 0.5 - matrix[:, :2].sum(axis=1) * 0.5) / size
        boxes.append(views.moved_boxes(own, in_parts))
    return cases | {"images": np.stack(images), "boxes": np.stack(boxes)}


def pointing(heats: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """Returns [N] bool, whether the maximum of each map is in its mask."""
    tops = [np.unravel_index(heat.argmax(), heat.shape) for heat in heats]
    return np.array([mask[top] for mask, top in zip(masks, tops, strict=True)])


def ranked(importance: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns the pixels of a map [S, S] in descending order; ties in random order."""
    noise = random.random(importance.size)
    return np.lexsort((noise, -importance.ravel()))


def random_squares(size_px: int, random: np.random.Generator) -> np.ndarray:
    """Returns a random map that is as smooth as the others."""
    small = random.random((10, 10)).astype(np.float32)
    return cv2.resize(small, (size_px, size_px), interpolation=cv2.INTER_CUBIC)


def curves(network: ExplainedNetwork, image: np.ndarray, sex: int, heat: np.ndarray, random):
    """Returns deletion (the mean change of the age) and insertion (the mean distance to it)."""
    order = ranked(heat, random)
    blurred = cv2.GaussianBlur(image[..., 0], (0, 0), 0.06 * len(image))[..., None]
    shown = [image]
    for base, other in ((image, np.zeros_like(image)), (blurred, image)):
        for share in SHARES:
            changed = base.copy().reshape(-1)
            places = order[: round(share * order.size)]
            changed[places] = other.reshape(-1)[places]
            shown.append(changed.reshape(image.shape))
    months = network.months(np.stack(shown), np.full(len(shown), sex))
    far = np.abs(months[1:] - months[0])
    return far[: len(SHARES)].mean(), far[len(SHARES) :].mean()


def likeness(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Returns the rank correlation and the SSIM of two maps."""
    small = [cv2.resize(each, (32, 32)).ravel() for each in (one, other)]
    known = all(np.ptp(each) > 0 for each in small)  # the same everywhere is like nothing
    return float(spearmanr(*small).statistic) if known else 0.0, similarity(one, other)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the SSIM (Wang et al. 2004) of two maps, each scaled to a maximum of 1."""
    one, other = (m / max(float(m.max()), 1e-20) for m in (one, other))

    def mean(values):
        return cv2.GaussianBlur(values, (0, 0), 1.5)

    a, b = mean(one), mean(other)
    va, vb, both = mean(one**2) - a**2, mean(other**2) - b**2, mean(one * other) - a * b
    found = (2 * a * b + 1e-4) * (2 * both + 9e-4)
    return float((found / ((a**2 + b**2 + 1e-4) * (va + vb + 9e-4))).mean())


def times_of(calls: dict, times: int = 20) -> dict[str, float]:
    """Returns the median processor time of alternating calls, without the first ones.

    Processor time is independent of other load on the machine.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times + 3):
        for name, call in calls.items():
            start = time.process_time()
            call()
            found[name].append(time.process_time() - start)
    return {name: float(np.median(values[3:])) for name, values in found.items()}


def measure(options: argparse.Namespace, load_trained, load_cases, seed: int) -> dict:
    """Returns the figures of every method for a network."""
    trained, config = load_trained()
    cases = load_cases(config)
    network = ExplainedNetwork(trained, config)
    images, sexes = cases["images"], cases["sexes"]
    strange = network.randomised(seed + 1, images=images[: options.few])
    months = network.months(network.stretched(images), sexes)
    masks = [inside(boxes, network.size_px) for boxes in cases["boxes"]]
    chance = float(np.mean([mask.mean() for mask in masks]))
    elsewhere = moved_cases(cases, seed)
    moved_masks = [inside(boxes, network.size_px) for boxes in elsewhere["boxes"]]
    random = np.random.default_rng(seed)
    nothing = [random_squares(network.size_px, random) for _ in images]
    found: dict = {
        "n": len(images),
        "chance": chance,
        "fixed": float(np.mean(masks, axis=0).max()),
        "moved_chance": float(np.mean(moved_masks)),
        "moved_fixed": float(np.mean(moved_masks, axis=0).max()),
        "unseen": int(cases["unseen"].sum()),
        "mae": float(np.abs(months - cases["ages"]).mean()),
    }
    few = slice(0, options.few)
    stretched = network.stretched(images[few])
    blank = [
        curves(network, *case, random)
        for case in zip(stretched, sexes[few], nothing[few], strict=True)
    ]
    one, sex = network.stretched(images[:1]), int(sexes[0])
    whole = network.of_sex(sex)
    forward = functools.partial(
        whole.run, "forward", lambda x: whole.months(x, training=False), one
    )
    wanted = [n for n in methods.available(network) if n in options.methods or not options.methods]
    found["methods"] = {}
    for name in wanted:
        maps = methods.make_maps(name, network, images, sexes)
        heats = methods.importance(name, maps)
        hit = pointing(heats, masks)
        in_moved = methods.importance(
            name, methods.make_maps(name, network, elsewhere["images"], sexes)
        )
        shares = [heat[mask].sum() / heat.sum() for heat, mask in zip(heats, masks, strict=True)]
        own = [
            curves(network, *case, random)
            for case in zip(stretched, sexes[few], heats[few], strict=True)
        ]
        changed = np.mean(own, axis=0) / np.mean(blank, axis=0)
        other = methods.importance(name, methods.make_maps(name, strange, images[few], sexes[few]))
        alike = [likeness(a, b) for a, b in zip(heats[few], other, strict=True)]
        rank, ssim = np.mean(alike, axis=0)
        explain = functools.partial(methods.METHODS[name].maps_fn, network, one, sex)
        took = times_of({"explain": explain, "forward": forward})
        found["methods"][name] = {
            "pointing": float(np.mean(hit)),
            "pointing_unseen": float(np.mean(hit[cases["unseen"]])),
            "pointing_moved": float(np.mean(pointing(in_moved, moved_masks))),
            "mass": float(np.mean(shares)) / chance,
            "deletion": float(changed[0]),
            "insertion": float(changed[1]),
            "rank": float(rank),
            "ssim": float(ssim),
            "time": took["explain"] / took["forward"],
        }
        print(name, json.dumps(found["methods"][name]), flush=True)
    return found


def saved_network(path: Path):
    """Returns a network and its config from an export's or a run's folder."""
    if (path / schema.METADATA_FILE).exists():
        bundle = Bundle.open(path)
        return load_network(bundle.keras_file), configs.from_flat(bundle.settings)
    trained = load_network(path / "checkpoints" / "best.keras")
    return trained, configs.read_config(path / "config.json")


def print_table(folder: Path) -> None:
    """Prints a row for each method and network, sorted by the share in moved images."""
    print(
        "| images | network | method | moved | bones | mass | del | ins | sanity: rank, SSIM "
        "| time |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for title, by_seed in results(folder).items():
        images, _, network = title.partition("-")
        for found in by_seed.values():
            rows, some = found["methods"].items(), 0 < found["unseen"] < found["n"]
            for name, row in sorted(rows, key=lambda item: -item[1]["pointing_moved"]):
                fails = " **fails**" if max(row["rank"], row["ssim"]) > FAILS else ""
                unseen = f" ({row['pointing_unseen']:.2f})" if some else ""
                print(
                    f"| {images} | `{network}` | `{name}` | {row['pointing_moved']:.2f} | "
                    f"{row['pointing']:.2f}{unseen} | "
                    f"{row['mass']:.2f} | {row['deletion']:.2f} | {row['insertion']:.2f} | "
                    f"{row['rank']:.2f}, {row['ssim']:.2f}{fails} | {row['time']:.1f} |"
                )
            count = f"{found['n']} ({found['unseen']})" if some else found["n"]
            print(
                f"| {images} | `{network}` | chance, n = {count}, MAE {found['mae']:.1f} | "
                f"{found['moved_chance']:.2f} | {found['chance']:.2f} | 1 | 1 | 1 | | |"
            )
            print(
                f"| {images} | `{network}` | the best fixed place | {found['moved_fixed']:.2f} | "
                f"{found['fixed']:.2f} | | | | | |"
            )


def main() -> None:
    """Runs the selected measurements and prints the table of all results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="+", choices=("phantoms", "real", "table"))
    parser.add_argument("--models", nargs="+", default=["compact"], choices=list(PHANTOM_NETWORKS))
    parser.add_argument("--methods", nargs="+", default=[], choices=list(methods.METHODS))
    parser.add_argument("--networks", nargs="*", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--phantoms", default="hand_phantom/only_bones")
    parser.add_argument("--steps", type=int, default=STEPS, help="of the training on phantoms")
    parser.add_argument("--count", type=int, default=200, help="images that are explained")
    parser.add_argument("--few", type=int, default=40, help="of them, for curves and sanity")
    parser.add_argument("--tuning", action="store_true", help="the images to choose settings on")
    parser.add_argument("--boxes", type=Path, help="Pascal VOC files of annotated radiographs")
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--work_dir", type=Path, default=Path("runs/explanations"))
    options = parser.parse_args()
    wanted = {}
    if "phantoms" in options.what:
        for name in options.models:
            load = functools.partial(network_on_phantoms, options, name)
            cases = functools.partial(phantom_cases, options)
            wanted[f"phantoms {name}"] = functools.partial(measure, options, load, cases)
    if "real" in options.what:
        if options.boxes is None:
            parser.error("real needs --boxes=FOLDER, Pascal VOC files named by image id")
        named = [one.partition("=") for one in options.networks]
        if not named:
            shipped = Bundle.find()
            named = [(shipped.name, "=", str(shipped.folder))]
        for name, _, folder in named:
            load = functools.partial(saved_network, Path(folder))
            cases = functools.partial(real_cases, options)
            wanted[f"real {name}"] = functools.partial(measure, options, load, cases)
    folder = options.work_dir / ("tuning" if options.tuning else "results")
    measure_all(wanted, [0], folder)
    print_table(folder)


if __name__ == "__main__":
    main()

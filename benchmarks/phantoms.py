"""Experiments with hand phantoms: speed, learnability, transfer to radiographs, saved labels.

python benchmarks/phantoms.py speed
python benchmarks/phantoms.py learnable shift
python benchmarks/phantoms.py transfer labels --manual_dir=../shared/rsna_bone_age_299px
python benchmarks/phantoms.py table

Each experiment runs with several seeds, which determine the phantoms, the network and the order.
Results are written to a file in `--work_dir` immediately, beside the phantoms and networks, and a
second start continues there. `table` prints mean, minimum and maximum over the seeds. Two processes
with one thread each (`--threads 1 --seeds 0 2`, `--threads 1 --seeds 1`) use two cores better than
one process with two threads.
"""

import argparse
import functools
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import cv2
import keras
import numpy as np
import tensorflow as tf
from bone_age_datasets.hand_phantom.examples import make_example, make_examples
from bone_age_datasets.hand_phantom.population import PhantomSettings

from bone_age_tf.data import pipeline
from bone_age_tf.prepare import prepare_dataset
from seeds import measure_all, print_table
from small_network import VIEWS, Arrays, at_rows, look_at, mae, predict, small_network, train

ALIKE = {"variety": 0.3}
"""Similar radiographs, as in the default dataset, to test whether the bones can be read."""
VARIANTS = {
    "all": ALIKE,
    "ossification off": ALIKE | {"ossification": False},
    "size random": ALIKE | {"random_size": True},
}
AS_REAL = {"age_distribution": "rsna_like"}
"""Radiographs as varied as real ones, with the age distribution of the real dataset."""
LABELS = (250, 500, 1000)
SHIFT_MONTHS = 12.0
CALIBRATION_IMAGES = 100
TEST_PHANTOMS = 1000
GROWN_GIRLS_MONTHS = 168.0


def phantoms(options: argparse.Namespace, seed: int, split: str, **knobs) -> Arrays:
    """Makes phantoms, or reads existing ones."""
    counts = {"train": options.images, "validation": 0, "test": TEST_PHANTOMS}
    settings = PhantomSettings(image_size_px=options.size_px, seed=1000 + seed, **counts, **knobs)
    name = "-".join([split, str(seed), str(counts[split]), *(f"{k}={v}" for k, v in knobs.items())])
    path = options.work_dir / f"phantoms-{options.size_px}-{name}.npz"
    if not path.exists():
        images, sexes, ages, bones = [], [], [], []
        for image, features in make_examples(settings, split):
            images.append(image)
            sexes.append([features["sex"] == "male"])
            ages.append(features["age_months"])
            state = features["bones"]
            bones.append(np.concatenate([state["present"], state["width_ratio"], state["fused"]]))
        arrays = (np.array(values, np.float32) for values in (sexes, ages, bones))
        np.savez(path, look_at(images), *arrays)
    return tuple(np.load(path).values())


def real(options: argparse.Namespace) -> tuple[Arrays, Arrays]:
    """Returns the RSNA training images, divided by id into 90 % and 10 %."""
    builder = prepare_dataset("rsna_bone_age", options.data_dir, options.manual_dir)
    parts = []
    for held_out in (False, True):
        images, sexes, ages = [], [], []
        part = pipeline.Part("train", 0.1, held_out)
        for row in pipeline.read_encoded(builder, part).as_numpy_iterator():
            image = pipeline.traced_decoding(options.size_px, "stretch")(row["image"])
            images.append(np.rint(image.numpy()).astype(np.uint8))
            sexes.append([row["sex"]])
            ages.append(row["age_months"])
        parts.append((look_at(images), np.array(sexes, "f4"), np.array(ages, "f4"), None))
    return parts[0], parts[1]


def phantom_network(options: argparse.Namespace, seed: int, knobs: dict, steps: int, turn: float):
    """Returns a network trained on phantoms only, which is trained unless it exists."""
    keras.utils.set_random_seed(seed)
    network = small_network(options.size_px)
    kind = "-".join(f"{name}={value}" for name, value in knobs.items())
    path = options.work_dir / f"network-{kind}-{seed}-{options.images}-{steps}.weights.h5"
    if path.exists():
        network.load_weights(path)
        return network
    data = phantoms(options, seed, "train", **knobs)
    train(network, data, steps, options.rate, seed, turn)
    network.save_weights(path)
    return network


def measure_speed(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Measures the images per second of a core at 96, 128 and 256 px."""
    cv2.setNumThreads(1)
    found = {}
    for size_px in (96, 128, 256):
        settings = PhantomSettings(image_size_px=size_px, seed=seed)
        make_example(settings, "train", 0)
        start = time.process_time()
        for index in range(100):
            make_example(settings, "train", index)
        found[f"images a second a core, {size_px} px"] = 100 / (time.process_time() - start)
    return found


def measure_learnable(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Measures the MAE on held-out phantoms of each variant, with a network for each variant."""
    found = {}
    for variant, knobs in VARIANTS.items():
        test = phantoms(options, seed, "test", **knobs)
        network = phantom_network(options, seed, knobs, options.steps, turn=0.0)
        months = predict(network, test)
        found[f"MAE, {variant}"] = mae(months, test)
        if variant == "all":
            grown = np.flatnonzero((test[1][:, 0] == 0) & (test[2] >= GROWN_GIRLS_MONTHS))
            found["MAE, all, girls from 14 years"] = mae(months[grown], at_rows(test, grown))
    found["MAE, constant"] = float(np.abs(test[2] - np.median(test[2])).mean())
    return found


def measure_shift(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Measures the bias of a network trained at shift 0 on a population 12 months ahead."""
    network = phantom_network(options, seed, ALIKE, options.steps, turn=0.0)
    found = {}
    for shift in (0.0, SHIFT_MONTHS):
        # Young enough for the shifted bones to be within the trained ages.
        ages = {"min_age_months": 12.0, "max_age_months": 180.0}
        knobs = ALIKE | ages | {"maturity_shift_months": shift}
        test = phantoms(options, seed, "test", **knobs)
        found[f"bias at shift {shift:g}"] = float((predict(network, test) - test[2]).mean())
    return found


def measure_transfer(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Measures phantom networks on radiographs, before and after a line fitted to 100 of them."""
    train_part, held_out = real(options)
    network = phantom_network(options, seed, AS_REAL, options.transfer_steps, turn=10.0)
    months = predict(network, held_out, VIEWS)
    chosen = np.random.default_rng(seed).permutation(len(train_part[2]))[:CALIBRATION_IMAGES]
    few = at_rows(train_part, chosen)
    slope, offset = np.polyfit(predict(network, few, VIEWS), few[2], 1)
    return {
        "Pearson r": float(np.corrcoef(months, held_out[2])[0, 1]),
        "MAE, as it is": mae(months, held_out),
        "MAE, line fitted to 100 images": mae(slope * months + offset, held_out),
        "bias under 4 years, as it is": float((months - held_out[2])[held_out[2] < 48].mean()),
        "MAE, constant": float(np.abs(held_out[2] - np.median(train_part[2])).mean()),
    }


def measure_labels(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Compares fine-tuned phantom networks with random weights on the same images and steps."""
    train_part, held_out = real(options)
    order = np.random.default_rng(seed).permutation(len(train_part[2]))
    found = {}
    for count in LABELS:
        few = at_rows(train_part, order[:count])
        steps = options.label_steps
        for start in ("random", "phantoms"):
            keras.utils.set_random_seed(seed)
            network = (
                small_network(options.size_px)
                if start == "random"
                else phantom_network(options, seed, AS_REAL, options.transfer_steps, turn=10.0)
            )
            train(network, few, steps, options.label_rate, seed, turn=15.0)
            found[f"MAE, {count} labels, from {start}"] = mae(predict(network, held_out), held_out)
        scratch, tuned = (found[f"MAE, {count} labels, from {s}"] for s in ("random", "phantoms"))
        found[f"saved, {count} labels"] = 1 - tuned / scratch
    return found


EXPERIMENTS = {
    "speed": measure_speed,
    "learnable": measure_learnable,
    "shift": measure_shift,
    "transfer": measure_transfer,
    "labels": measure_labels,
}


def main() -> None:
    """Runs the selected experiments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "table"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of TensorFlow; 0: all cores")
    parser.add_argument("--size_px", type=int, default=100)
    parser.add_argument("--images", type=int, default=12000, help="training phantoms")
    parser.add_argument("--steps", type=int, default=4000, help="of 32 phantoms")
    parser.add_argument("--rate", type=float, default=3e-3, help="learning rate on phantoms")
    parser.add_argument("--transfer_steps", type=int, default=6000, help="for real images")
    parser.add_argument("--label_steps", type=int, default=700, help="of 32 real images")
    parser.add_argument("--label_rate", type=float, default=1e-3)
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files, for transfer and labels")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--work_dir", type=Path, default=Path("runs/phantom_benchmark"))
    options = parser.parse_args()
    selected = [name for name in options.experiments if name != "table"]
    for name in selected:
        needs_real = name in ("transfer", "labels") and not options.data_dir.exists()
        if needs_real and not (options.manual_dir and options.manual_dir.is_dir()):
            parser.error(f"{name} needs --manual_dir, the folder of the RSNA files")
    if options.threads:
        cv2.setNumThreads(options.threads)
        tf.config.threading.set_intra_op_parallelism_threads(options.threads)
        tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    folder = options.work_dir / "results"
    measurements = {name: functools.partial(EXPERIMENTS[name], options) for name in selected}
    measure_all(measurements, options.seeds, folder)
    print_table(folder)


if __name__ == "__main__":
    main()

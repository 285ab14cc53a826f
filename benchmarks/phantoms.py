"""What the hand phantoms teach: speed, learnability, transfer to real radiographs, saved labels.

python benchmarks/phantoms.py speed
python benchmarks/phantoms.py learnable shift
python benchmarks/phantoms.py transfer labels --manual_dir=../shared/rsna_bone_age
python benchmarks/phantoms.py table

Each experiment runs over several seeds; a seed sets the phantoms, the network and the order. What
is measured goes to a file in `--work_dir` as soon as it is known, beside the phantoms and networks;
a run that is started again goes on there. `table` prints mean, lowest and highest over the seeds.
Two processes of one thread each (`--threads 1 --seeds 0 2`, `--threads 1 --seeds 1`) share two
cores better than one of two.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

ALIKE = {"variety": 0.3}
"""Films much alike, as in the default dataset: what is asked is whether the bones can be read."""
VARIANTS = {
    "all": ALIKE,
    "ossification off": ALIKE | {"ossification": False},
    "size random": ALIKE | {"random_size": True},
}
AS_REAL = {"age_distribution": "rsna_like"}
"""Films as different as real ones, and ages spread as in the real set."""
LABELS = (250, 500, 1000)
SHIFT_MONTHS = 12.0
CALIBRATION_IMAGES = 100
TEST_PHANTOMS = 1000
BIN_MONTHS = 2.0
BONES_WEIGHT = 3.0
VIEWS = ((0.0, 1.0), (-8.0, 1.0), (8.0, 1.0), (0.0, 0.9), (0.0, 1.08))
"""Turns in degrees and zooms over which predictions of real images are averaged."""

BONES = 30

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]
"""Images [N, S, S, 2] uint8 as `look_at` makes them, sexes [N, 1] float32, ages [N] in months; of
phantoms also how mature each bone is, [N, 3 * 30] float32, 0 to 1: whether it is there, how wide
its epiphysis is, how far it has fused."""


def look_at(images: Sequence[np.ndarray]) -> np.ndarray:
    """Makes drawn and real films alike, whatever their exposure.

    Args:
        images: N of [S, S, 1], 0 to 255.

    Returns:
        [N, S, S, 2] uint8: each image between its percentiles, and how each pixel stands out from
        its neighbourhood.
    """
    import cv2

    from bone_age_tf.models.layers import PercentileStretch

    stretch, found = PercentileStretch(), []
    for first in range(0, len(images), 256):
        batch = np.stack(images[first : first + 256]).astype(np.float32)
        for grey in np.array(stretch(batch))[:, :, :, 0]:
            difference = grey - cv2.blur(grey, (15, 15))
            spread = np.sqrt(cv2.blur(difference * difference, (15, 15)) + 1e-3)
            contrast = np.clip(0.5 + difference / spread / 6.0, 0.0, 1.0)
            found.append(np.rint(255.0 * np.stack([grey, contrast], axis=-1)).astype(np.uint8))
    return np.stack(found)


def phantoms(options: argparse.Namespace, seed: int, split: str, **knobs) -> Arrays:
    """Makes phantoms, or reads those made before."""
    from bone_age_datasets.hand_phantom.examples import make_examples
    from bone_age_datasets.hand_phantom.population import PhantomSettings

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
    """Returns the RSNA training images, cut by id into 90 % and 10 %."""
    from bone_age_tf.data import pipeline, preprocessing
    from bone_age_tf.prepare import prepare_dataset

    builder = prepare_dataset("rsna_bone_age", options.data_dir, options.manual_dir)
    parts = []
    for held_out in (False, True):
        images, sexes, ages = [], [], []
        part = pipeline.Part("train", 0.1, held_out)
        for row in pipeline.read_encoded(builder, part).as_numpy_iterator():
            image = preprocessing.decode_and_resize(row["image"], options.size_px, "stretch")
            images.append(np.rint(image.numpy()).astype(np.uint8))
            sexes.append([row["sex"]])
            ages.append(row["age_months"])
        parts.append((look_at(images), np.array(sexes, "f4"), np.array(ages, "f4"), None))
    return parts[0], parts[1]


def some(data: Arrays, rows: np.ndarray) -> Arrays:
    """Returns some rows."""
    images, sexes, ages, bones = data
    return images[rows], sexes[rows], ages[rows], None if bones is None else bones[rows]


def small_network(size_px: int):
    """Returns an image and a sex to a bone age and to bones: seven convolutions, 0.8 M parameters.

    The age is the mean of a distribution, as in the project's models: a plain regression of the age
    learns more slowly from cues as small as a closing growth plate. `bones` is how mature each bone
    is, which only phantoms know. Learning it beside the age draws the network to the bones; nothing
    reads it afterwards.
    """
    import keras
    from keras import layers

    from bone_age_tf.models.layers import ExpectedAge

    image = keras.Input((size_px, size_px, 2), name="image")
    sex = keras.Input((1,), name="sex")
    x = layers.Rescaling(1 / 128.0, -1.0)(image)

    def convolve(x, filters: int, kernel: int, strides: int = 1):
        x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    x = convolve(x, 24, 5, 2)
    x = convolve(x, 40, 3, 2)
    x = convolve(x, 40, 3)
    x = convolve(layers.MaxPooling2D(2)(x), 80, 3)
    x = convolve(x, 80, 3)
    x = convolve(layers.MaxPooling2D(2)(x), 160, 3)
    x = convolve(x, 160, 3)
    x = layers.Flatten()(layers.AveragePooling2D(2)(x))
    bones = layers.Dense(3 * BONES, activation="sigmoid", name="bones")(x)
    x = layers.Concatenate()([layers.Dropout(0.2)(x), layers.Dense(16, activation="relu")(sex)])
    x = layers.Dense(128, activation="relu")(x)
    distribution = layers.Dense(120, activation="softmax", name="distribution")(x)
    age = ExpectedAge(BIN_MONTHS, name="age_months")(distribution)
    outputs = {"age_months": age, "distribution": distribution, "bones": bones}
    return keras.Model({"image": image, "sex": sex}, outputs)


def move(image: np.ndarray, degrees: float, zoom: float, shift=(0.0, 0.0)) -> np.ndarray:
    """Turns and zooms an image [S, S, C] about its middle, then shifts it by parts of its size."""
    import cv2

    size = image.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, zoom)
    matrix[:, 2] += np.multiply(shift, size)
    return cv2.warpAffine(image, matrix, (size, size))


def moved_batches(data: Arrays, seed: int, turn: float):
    """Yields batches of 32 without end; with a turn, each image is turned, shifted and zoomed."""
    images, sexes, ages, bones = data
    bones = np.zeros((len(ages), 3 * BONES), np.float32) if bones is None else bones
    random = np.random.default_rng(seed)
    while True:
        order = random.permutation(len(ages))
        for first in range(0, len(order) - 31, 32):
            rows = order[first : first + 32]
            batch = images[rows]
            if turn:
                turns = random.uniform(-turn, turn, 32)
                zooms = random.uniform(0.9, 1.1, 32)
                shifts = random.uniform(-0.06, 0.06, (32, 2))
                moves = zip(batch, turns, zooms, shifts, strict=True)
                batch = np.stack([move(image, *how) for image, *how in moves])
            age = ages[rows, None]
            yield (
                {"image": batch.astype(np.float32), "sex": sexes[rows]},
                {"age_months": age, "distribution": age, "bones": bones[rows]},
            )


def train(network, data: Arrays, steps: int, rate: float, seed: int, turn: float) -> None:
    """Trains with AdamW, warm-up and a cosine; images turn up to `turn` degrees."""
    import keras

    from bone_age_tf.training.losses import DistributionLoss

    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps, warmup_target=rate, warmup_steps=steps // 20
    )
    network.compile(
        keras.optimizers.AdamW(schedule, weight_decay=0.02, clipnorm=1.0),
        {"age_months": "mae", "distribution": DistributionLoss(BIN_MONTHS, 6.0), "bones": "mae"},
        loss_weights={
            "age_months": 0.02,
            "distribution": 1.0,
            "bones": 0.0 if data[3] is None else BONES_WEIGHT,
        },
    )
    for _, (inputs, targets) in zip(range(steps), moved_batches(data, seed, turn), strict=False):
        network.train_on_batch(inputs, targets)


def predict(network, data: Arrays, views: Sequence[tuple[float, float]] = VIEWS[:1]) -> np.ndarray:
    """Returns ages [N] in months, the mean over views."""
    found = []
    for degrees, zoom in views:
        seen = np.stack([move(image, degrees, zoom) for image in data[0]])
        inputs = {"image": seen.astype(np.float32), "sex": data[1]}
        outputs = network.predict(inputs, batch_size=64, verbose=0)
        found.append(outputs["age_months"][:, 0])
    return np.mean(found, axis=0)


def phantom_network(options: argparse.Namespace, seed: int, knobs: dict, steps: int, turn: float):
    """Returns a network trained on phantoms alone, trained now or before."""
    import keras

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


def mae(months: np.ndarray, data: Arrays) -> float:
    """Returns the mean absolute error in months."""
    return float(np.abs(months - data[2]).mean())


def measure_speed(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Images a second of one core at 96, 128 and 256 px."""
    import cv2
    from bone_age_datasets.hand_phantom.examples import make_example
    from bone_age_datasets.hand_phantom.population import PhantomSettings

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
    """MAE on held-out phantoms of each variant, each trained on its own kind."""
    found = {}
    for variant, knobs in VARIANTS.items():
        test = phantoms(options, seed, "test", **knobs)
        network = phantom_network(options, seed, knobs, options.steps, turn=0.0)
        months = predict(network, test)
        found[f"MAE, {variant}"] = mae(months, test)
    found["MAE, constant"] = float(np.abs(test[2] - np.median(test[2])).mean())
    return found


def measure_shift(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Bias of a network trained at shift 0 on a population that matures 12 months earlier."""
    network = phantom_network(options, seed, ALIKE, options.steps, turn=0.0)
    found = {}
    for shift in (0.0, SHIFT_MONTHS):
        # Young enough that the shifted bones are still within the trained ages.
        ages = {"min_age_months": 12.0, "max_age_months": 180.0}
        knobs = ALIKE | ages | {"maturity_shift_months": shift}
        test = phantoms(options, seed, "test", **knobs)
        found[f"bias at shift {shift:g}"] = float((predict(network, test) - test[2]).mean())
    return found


def measure_transfer(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Phantom networks on real radiographs, before and after a line fitted to 100 of them."""
    train_part, held_out = real(options)
    network = phantom_network(options, seed, AS_REAL, options.transfer_steps, turn=10.0)
    months = predict(network, held_out, VIEWS)
    chosen = np.random.default_rng(seed).permutation(len(train_part[2]))[:CALIBRATION_IMAGES]
    few = some(train_part, chosen)
    slope, offset = np.polyfit(predict(network, few, VIEWS), few[2], 1)
    return {
        "Pearson r": float(np.corrcoef(months, held_out[2])[0, 1]),
        "MAE, as it is": mae(months, held_out),
        "MAE, line fitted to 100 images": mae(slope * months + offset, held_out),
        "MAE, constant": float(np.abs(held_out[2] - np.median(train_part[2])).mean()),
    }


def measure_labels(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Fine-tuned phantom networks against random weights, same images, steps and recipe."""
    import keras

    train_part, held_out = real(options)
    order = np.random.default_rng(seed).permutation(len(train_part[2]))
    found = {}
    for count in LABELS:
        few = some(train_part, order[:count])
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


def print_table(folder: Path) -> None:
    """Prints mean, lowest and highest over the seeds."""
    for experiment in EXPERIMENTS:
        found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{experiment}-*"))]
        if not found:
            continue
        print(f"\n{experiment}, {len(found)} seeds{'mean':>36}{'lowest':>10}{'highest':>10}")
        for name in found[0]:
            values = [figures[name] for figures in found]
            print(f"  {name:48}{np.mean(values):10.3g}{min(values):10.3g}{max(values):10.3g}")


def main() -> None:
    """Runs what is asked for."""
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
    folder = options.work_dir / "results"
    folder.mkdir(parents=True, exist_ok=True)
    for experiment in options.experiments:
        needs_real = experiment in ("transfer", "labels") and not options.data_dir.exists()
        if needs_real and not (options.manual_dir and options.manual_dir.is_dir()):
            parser.error(f"{experiment} needs --manual_dir, the folder of the RSNA files")
        for seed in options.seeds if experiment != "table" else ():
            path = folder / f"{experiment}-{seed}.json"
            if path.exists():
                continue
            _use_threads(options.threads)
            start = time.perf_counter()
            found = EXPERIMENTS[experiment](options, seed)
            path.write_text(json.dumps(found, indent=1) + "\n")
            seconds = time.perf_counter() - start
            print(f"{experiment}, seed {seed}, {seconds:.0f} s:", found, flush=True)
    print_table(folder)


def _use_threads(threads: int) -> None:
    import cv2
    import tensorflow as tf

    if threads:
        cv2.setNumThreads(threads)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


if __name__ == "__main__":
    main()

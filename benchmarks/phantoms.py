"""What the hand phantoms teach: speed, learnability, transfer to real radiographs, saved labels.

python benchmarks/phantoms.py speed
python benchmarks/phantoms.py learnable shift
python benchmarks/phantoms.py transfer labels --manual_dir=../shared/rsna_bone_age
python benchmarks/phantoms.py table

Each experiment runs over several seeds; a seed sets the phantoms, the network and the order. What
is measured goes to `--results` as soon as it is known; a run that is started again goes on there.
`table` prints mean, lowest and highest over the seeds. Networks and phantoms lie in `--work_dir`.
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
MEAN_MONTHS, SCALE_MONTHS = 120.0, 60.0
VIEWS = ((0.0, 1.0), (-8.0, 1.0), (8.0, 1.0), (0.0, 0.9), (0.0, 1.08))
"""Turns in degrees and zooms over which predictions of real images are averaged."""

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images [N, S, S, 2] uint8 as `look_at` makes them, sexes [N, 1] float32, ages [N] in months."""


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
        images, sexes, ages = [], [], []
        for image, features in make_examples(settings, split):
            images.append(image)
            sexes.append(features["sex"] == "male")
            ages.append(features["age_months"])
        np.savez(path, images=look_at(images), sexes=np.array(sexes), ages=np.array(ages))
    kept = np.load(path)
    return kept["images"], kept["sexes"].astype(np.float32)[:, None], kept["ages"].astype("f4")


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
        parts.append((look_at(images), np.array(sexes, "f4"), np.array(ages, "f4")))
    return parts[0], parts[1]


def small_network(size_px: int):
    """Returns an image and a sex to a bone age: seven convolutions, 0.6 M parameters."""
    import keras
    from keras import layers

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
    x = layers.Concatenate()([layers.Dropout(0.2)(x), layers.Dense(16, activation="relu")(sex)])
    x = layers.Dense(128, activation="relu")(x)
    age = layers.Dense(1, name="standard_age")(x)
    return keras.Model({"image": image, "sex": sex}, age)


def train(network, data: Arrays, steps: int, rate: float, seed: int, turn: float) -> None:
    """Trains on L1 with AdamW, warm-up and a cosine; images turn, shift and zoom at random."""
    import keras
    import tensorflow as tf

    images, sexes, ages = data
    rows = tf.data.Dataset.from_tensor_slices((images, sexes, (ages - MEAN_MONTHS) / SCALE_MONTHS))
    rows = rows.shuffle(len(ages), seed=seed).repeat().batch(32, drop_remainder=True)

    def to_model(image, sex, age):
        return {"image": tf.cast(image, tf.float32), "sex": sex}, age[:, None]

    image, sex = keras.Input(images.shape[1:], name="image"), keras.Input((1,), name="sex")
    black = {"fill_mode": "constant", "fill_value": 0.0}
    x = keras.layers.RandomRotation(turn / 360, seed=seed, **black)(image)
    x = keras.layers.RandomTranslation(0.06, 0.06, seed=seed, **black)(x)
    x = keras.layers.RandomZoom(0.1, 0.1, seed=seed, **black)(x)
    model = keras.Model({"image": image, "sex": sex}, network({"image": x, "sex": sex}))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps, warmup_target=rate, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.02, clipnorm=1.0), "mae")
    model.fit(rows.map(to_model).prefetch(4), steps_per_epoch=steps, verbose=0)


def predict(network, data: Arrays, views: Sequence[tuple[float, float]] = VIEWS[:1]) -> np.ndarray:
    """Returns ages [N] in months, the mean over views."""
    import cv2

    size = data[0].shape[1]
    found = []
    for degrees, zoom in views:
        turn = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, zoom)
        seen = np.stack([cv2.warpAffine(image, turn, (size, size)) for image in data[0]])
        inputs = {"image": seen.astype(np.float32), "sex": data[1]}
        found.append(network.predict(inputs, batch_size=64, verbose=0)[:, 0])
    return MEAN_MONTHS + SCALE_MONTHS * np.mean(found, axis=0)


def phantom_network(options: argparse.Namespace, seed: int, knobs: dict, steps: int):
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
    train(network, data, steps, options.rate, seed, turn=10.0)
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
        months = predict(phantom_network(options, seed, knobs, options.steps), test)
        found[f"MAE, {variant}"] = mae(months, test)
    found["MAE, constant"] = float(np.abs(test[2] - np.median(test[2])).mean())
    return found


def measure_shift(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Bias of a network trained at shift 0 on a population that matures 12 months earlier."""
    network = phantom_network(options, seed, ALIKE, options.steps)
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
    network = phantom_network(options, seed, AS_REAL, options.transfer_steps)
    months = predict(network, held_out, VIEWS)
    chosen = np.random.default_rng(seed).permutation(len(train_part[2]))[:CALIBRATION_IMAGES]
    few = tuple(values[chosen] for values in train_part)
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
        few = tuple(values[order[:count]] for values in train_part)
        steps = options.label_steps
        for start in ("random", "phantoms"):
            keras.utils.set_random_seed(seed)
            network = (
                small_network(options.size_px)
                if start == "random"
                else phantom_network(options, seed, AS_REAL, options.transfer_steps)
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


def print_table(results: dict) -> None:
    """Prints mean, lowest and highest over the seeds."""
    for experiment, by_seed in results.items():
        print(f"\n{experiment}, {len(by_seed)} seeds{'mean':>36}{'lowest':>10}{'highest':>10}")
        for name in next(iter(by_seed.values())):
            values = [figures[name] for figures in by_seed.values()]
            print(f"  {name:48}{np.mean(values):10.3g}{min(values):10.3g}{max(values):10.3g}")


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="+", choices=[*EXPERIMENTS, "table"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size_px", type=int, default=100)
    parser.add_argument("--images", type=int, default=12000, help="training phantoms")
    parser.add_argument("--steps", type=int, default=4000, help="of 32 phantoms")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate on phantoms")
    parser.add_argument("--transfer_steps", type=int, default=6000, help="for real images")
    parser.add_argument("--label_steps", type=int, default=1000, help="of 32 real images")
    parser.add_argument("--label_rate", type=float, default=1e-3)
    parser.add_argument("--manual_dir", type=Path, help="the RSNA files, for transfer and labels")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--work_dir", type=Path, default=Path("runs/phantom_benchmark"))
    parser.add_argument("--results", type=Path, help="default: results.json in --work_dir")
    options = parser.parse_args()
    options.work_dir.mkdir(parents=True, exist_ok=True)
    path = options.results or options.work_dir / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for experiment in options.experiments:
        for seed in range(options.seeds):
            done = results.setdefault(experiment, {}) if experiment != "table" else None
            if done is None or str(seed) in done:
                continue
            start = time.perf_counter()
            done[str(seed)] = EXPERIMENTS[experiment](options, seed)
            path.write_text(json.dumps(results, indent=1) + "\n")
            seconds = time.perf_counter() - start
            print(f"{experiment}, seed {seed}, {seconds:.0f} s:", done[str(seed)], flush=True)
    print_table(results)


if __name__ == "__main__":
    main()

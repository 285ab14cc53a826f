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
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np

VARIANTS = {
    "all": {},
    "ossification off": {"ossification": False},
    "size random": {"random_size": True},
}
LABELS = (250, 500, 1000)
SHIFT_MONTHS = 12.0
CALIBRATION_IMAGES = 100
TEST_PHANTOMS = 1000

MEAN_MONTHS, SCALE_MONTHS = 120.0, 60.0
LOCAL_PX = 15

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Images [N, S, S, 1] uint8, sexes [N, 1] float32 and ages [N] float32 in months."""


def phantoms(options: argparse.Namespace, seed: int, split: str, **knobs) -> Arrays:
    """Makes phantoms, or reads those made before."""
    from bone_age_datasets.hand_phantom.examples import PhantomSettings, make_examples

    counts = {"train": options.images, "validation": 0, "test": TEST_PHANTOMS}
    settings = PhantomSettings(
        image_size_px=options.size_px,
        age_distribution="uniform",
        seed=1000 + seed,
        **counts,
        **knobs,
    )
    name = "-".join([split, str(seed), str(counts[split]), *(f"{k}={v}" for k, v in knobs.items())])
    path = options.work_dir / f"phantoms-{options.size_px}-{name}.npz"
    if not path.exists():
        images, sexes, ages = [], [], []
        for image, features in make_examples(settings, split):
            images.append(image)
            sexes.append(features["sex"] in ("male", 1))
            ages.append(features["age_months"])
        np.savez(path, images=np.stack(images), sexes=np.array(sexes), ages=np.array(ages))
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
        parts.append((np.stack(images), np.array(sexes, "f4"), np.array(ages, "f4")))
    return parts[0], parts[1]


def small_network(size_px: int):
    """Returns an image and a sex to a bone age: seven convolutions, 0.4 M parameters."""
    import keras
    from keras import layers

    from bone_age_tf.models.layers import PercentileStretch

    image = keras.Input((size_px, size_px, 1), name="image")
    sex = keras.Input((1,), name="sex")
    x = PercentileStretch()(image)
    # Real and drawn films differ in exposure: keep how a pixel stands out from its neighbourhood.
    local = layers.AveragePooling2D(LOCAL_PX, 1, padding="same")
    difference = x - local(x)
    spread = keras.ops.sqrt(local(difference * difference) + 1e-3)
    x = layers.Concatenate()([difference / spread, x])

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


def train(network, data: Arrays, steps: int, rate: float, seed: int, augment: bool) -> None:
    """Trains on L1 with AdamW, warm-up and a cosine; real images are augmented, phantoms vary."""
    import keras
    import tensorflow as tf

    from bone_age_tf.config import base_config
    from bone_age_tf.data.augmentation import build_augmentation
    from bone_age_tf.training.augmented import AugmentedModel

    images, sexes, ages = data
    batch = 32
    rows = tf.data.Dataset.from_tensor_slices((images, sexes, (ages - MEAN_MONTHS) / SCALE_MONTHS))
    rows = rows.shuffle(len(ages), seed=seed).repeat().batch(batch, drop_remainder=True)

    def to_model(image, sex, age):
        return {"image": tf.cast(image, tf.float32), "sex": sex}, {"age": age[:, None]}

    settings = base_config().augmentation
    settings.flip = False
    layers = build_augmentation(settings, seed) if augment else None
    model = AugmentedModel(_named(network), layers, ("age",))
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 20, steps, warmup_target=rate, warmup_steps=steps // 20
    )
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.02, clipnorm=1.0), {"age": "mae"})
    model.fit(rows.map(to_model).prefetch(4), steps_per_epoch=steps, verbose=0)


def _named(network):
    """Returns the network with its output named, as the augmented model expects."""
    import keras

    return keras.Model(network.inputs, {"age": network.output}, name="small")


def predict(network, data: Arrays) -> np.ndarray:
    """Returns ages [N] in months."""
    inputs = {"image": data[0].astype(np.float32), "sex": data[1]}
    return MEAN_MONTHS + SCALE_MONTHS * network.predict(inputs, batch_size=64, verbose=0)[:, 0]


def phantom_network(options: argparse.Namespace, seed: int, variant: str = "all"):
    """Returns a network trained on phantoms alone, trained now or before."""
    import keras

    keras.utils.set_random_seed(seed)
    network = small_network(options.size_px)
    name = f"{variant}-{seed}-{options.images}-{options.steps}".replace(" ", "_")
    path = options.work_dir / f"network-{name}.weights.h5"
    if path.exists():
        network.load_weights(path)
        return network
    data = phantoms(options, seed, "train", **VARIANTS[variant])
    train(network, data, options.steps, options.rate, seed, augment=options.augment)
    network.save_weights(path)
    return network


def mae(months: np.ndarray, data: Arrays) -> float:
    """Returns the mean absolute error in months."""
    return float(np.abs(months - data[2]).mean())


def measure_speed(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Images a second of one core at 96, 128 and 256 px."""
    import cv2
    from bone_age_datasets.hand_phantom.examples import PhantomSettings, make_example

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
        months = predict(phantom_network(options, seed, variant), test)
        found[f"MAE, {variant}"] = mae(months, test)
    found["MAE, constant"] = float(np.abs(test[2] - np.median(test[2])).mean())
    return found


def measure_shift(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Bias of a network trained at shift 0 on a population that matures 12 months earlier."""
    network = phantom_network(options, seed)
    found = {}
    for shift in (0.0, SHIFT_MONTHS):
        # Young enough that the shifted bones are still within the trained ages.
        knobs = {"maturity_shift_months": shift, "min_age_months": 12.0, "max_age_months": 180.0}
        test = phantoms(options, seed, "test", **knobs)
        found[f"bias at shift {shift:g}"] = float((predict(network, test) - test[2]).mean())
    return found


def measure_transfer(options: argparse.Namespace, seed: int) -> dict[str, float]:
    """Phantom networks on real radiographs, before and after a line fitted to 100 of them."""
    train_part, held_out = real(options)
    network = phantom_network(options, seed)
    months = predict(network, held_out)
    chosen = np.random.default_rng(seed).permutation(len(train_part[2]))[:CALIBRATION_IMAGES]
    few = tuple(values[chosen] for values in train_part)
    slope, offset = np.polyfit(predict(network, few), few[2], 1)
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
                else phantom_network(options, seed)
            )
            train(network, few, steps, options.label_rate, seed, augment=True)
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
    parser.add_argument("--steps", type=int, default=6000, help="of 32 phantoms")
    parser.add_argument("--rate", type=float, default=2e-3, help="learning rate on phantoms")
    parser.add_argument("--augment", action="store_true", help="augment phantoms too")
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

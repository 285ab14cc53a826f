"""Does reading each bone reduce the error of the whole hand, on a short budget?

python benchmarks/frame_radiographs.py --manual_dir=DIR --output=FRAMED
python benchmarks/whole_and_bones.py --manual_dir=FRAMED

Trains `bonewise` from ImageNet weights with several seeds, all together, on hands in their frame,
and measures on the held-out training ids: the whole hand alone, the least and the greatest error of
a region alone, the fused answer, and its error over the whole hand's with its 95 % interval, a
bootstrap over pairs. Results are stored in --folder, so that a second start continues.
"""

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import seeds
from bone_age_tf.recipes.framed import AUGMENTATION
from bone_age_tf.training_api import get_config, train

MOST_RATIO = 0.9
WHOLE_HAND = "whole hand"


def main() -> None:
    """Trains with each seed and prints the table and what was to be reached."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--manual_dir", type=Path, required=True, help="the framed copy")
    parser.add_argument("--data_dir", type=Path, default=Path("data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/whole_and_bones"))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    settings = {
        "init": "imagenet",
        "epochs": options.epochs,
        "learning_rate": 2e-3,
        "age_loss_weight": 0.05,
        "dropout": 0.2,
    }
    augmentation = {name.replace(".", "__"): value for name, value in AUGMENTATION.items()}
    config = get_config("bonewise", "rsna_bone_age", **settings, **augmentation)

    def measured(seed: int) -> dict[str, float]:
        run = train(
            config,
            options.folder / f"seed_{seed}",
            dataset="rsna_bone_age/px512",
            data_dir=options.data_dir,
            manual_dir=options.manual_dir,
            precision="float32",
            seed=seed,
        )
        metrics = run.evaluate()
        parts = {name: part["mae_months"]["value"] for name, part in metrics["parts"].items()}
        whole = parts.pop(WHOLE_HAND)
        ratio = metrics["parts"][WHOLE_HAND]["ratio"]
        return {
            "n": metrics["n"],
            "whole hand": whole,
            "best region": min(parts.values()),
            "worst region": max(parts.values()),
            "fused": metrics["overall"]["mae_months"]["value"],
            "fused over whole hand": ratio["value"],
            "its interval's lower end": ratio["low"],
            "its interval's upper end": ratio["high"],
        }

    seeds.measure_all({"bonewise": measured}, options.seeds, options.folder)
    seeds.print_table(options.folder)
    found = seeds.results(options.folder)["bonewise"].values()
    mean = sum(figures["fused over whole hand"] for figures in found) / len(found)
    print(f"{'ok  ' if mean <= MOST_RATIO else 'MISS'}  fused over whole hand <= {MOST_RATIO}")


if __name__ == "__main__":
    main()

"""The whole hand and its ossification regions, trained together at 288 px: the shipped weights.

Command: python run.py --mode=recipe --recipe=bonewise --precision=float32 --manual_dir=BLENDED
Data: the images of the recipe `framed` in their frame, with ages halfway between the readings and
what two networks answer (benchmarks/blended_labels.py; MODEL_CARD has the commands).
Start: the weights of a training of both together at 256 px (8beae88): git show
57035ea:exports/bonewise_together.keras > runs/bonewise_together.keras. The region detector's are
those of its export.

Score: 6.5 months fused, 6.6 the whole hand alone, 6.7 the regions without it, 7.9 to 10.5 each
region alone, on the held-out ids in their frame, n = 1,130.
"""

from bone_age_tf.recipes.framed import AUGMENTATION
from bone_age_tf.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    name="bonewise",
    model="bonewise",
    dataset="rsna_bone_age/px512",
    stages=(
        Stage(
            "fine",
            {
                **AUGMENTATION,
                "augmentation.crush": 0.15,
                "augmentation.levels": 8,
                "age_loss_weight": 0.05,
                "epochs": 5,
                "learning_rate": 5e-4,
                "dropout": 0.2,
                "image_size_px": 288,
                "region_px": 54,
            },
            init="runs/bonewise_together.keras",
            seed=19,
        ),
    ),
    pack_px=320,
    pack_quality=90,
)

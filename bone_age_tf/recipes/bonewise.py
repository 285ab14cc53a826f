"""The ossification regions in their frame beside the whole hand: the shipped weights.

Command: python run.py --mode=recipe --recipe=bonewise --precision=float32 --manual_dir=FRAMED
Data: as in the recipe `framed`, whose copy of the images this recipe takes.
Start: the weights of a first training of five epochs in which the whole hand's share of the answer
was learned (168dcae), without that share: git show f30619b:exports/bonewise_init.keras >
runs/bonewise_init.keras. It began with the weights of the recipe `framed`, for the whole hand,
where they stay as they are, and for the crops.

Score: 6.6 months fused, 6.8 the whole hand alone, 6.7 the regions without it, 8.1 to 10.6 each
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
            "regions",
            {
                **AUGMENTATION,
                "age_loss_weight": 0.05,
                "epochs": 8,
                "learning_rate": 7e-4,
                "dropout": 0.2,
                "train_whole": False,
            },
            init="runs/bonewise_init.keras",
            seed=13,
        ),
    ),
    pack_px=320,
    pack_quality=90,
)

"""The ossification regions of hands in their frame, beside the whole hand's trained network.

Command: python run.py --mode=recipe --recipe=bonewise --precision=float32 --manual_dir=FRAMED
Data: as in the recipe `framed`, whose copy of the images this recipe takes.
Start: weights of thirteen epochs in which the whole hand's network stayed as it was shipped and the
regions and their fusion learned (git show c8684bc:exports/bonewise_regions.keras >
runs/bonewise_regions.keras): 6.6 months fused, 6.8 the whole hand alone, on the held-out ids in
their frame, n = 1,130. Now all is trained together.
"""

from bone_age_tf.recipes.framed import AUGMENTATION
from bone_age_tf.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    name="bonewise",
    model="bonewise",
    dataset="rsna_bone_age/px512",
    stages=(
        Stage(
            "together",
            {
                **AUGMENTATION,
                "age_loss_weight": 0.05,
                "epochs": 6,
                "learning_rate": 6e-4,
                "dropout": 0.2,
                "train_whole": True,
            },
            init="runs/bonewise_regions.keras",
            seed=17,
        ),
    ),
    pack_px=320,
    pack_quality=90,
)

"""The weights that the project ships: EfficientNet-Lite0 on real radiographs at 256 px.

Command: python run.py --mode=recipe --recipe=boxed --manual_dir=DIR
Data: 90 % of the RSNA 2017 training images, cut by id, at their own aspect ratio.
Start: the weights of version 1, which learned from stretched images of 100 px and are kept in the
history: git show d583110:exports/efficientnet_lite0/1/model.keras > runs/version_1.keras

Most epochs see images of 192 px: they cost half as much as those of 256 px and bring most of what
the larger ones bring, which come at the end, when the learning rate falls.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

RECIPE = Recipe(
    name="boxed",
    model="efficientnet_lite0",
    dataset="rsna_bone_age/px512",
    stages=(
        Stage(
            "real_pixels",
            {
                "epochs": 3,
                "learning_rate": 6e-4,
                "age_loss_weight": 0.05,
                "stage_scales": (0.75, 1.0),
                "stage_ends": (0.67, 1.0),
            },
            init="runs/version_1.keras",
            seed=7,
        ),
    ),
    pack_px=384,
    pack_quality=90,
)

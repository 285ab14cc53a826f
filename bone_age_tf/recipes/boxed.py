"""EfficientNet-Lite0 on whole radiographs at 256 px: its version 2, which was shipped before.

Command: python run.py --mode=recipe --recipe=boxed --precision=float32 --manual_dir=DIR
Data: 90 % of the RSNA 2017 training images, divided by id, at their own aspect ratio.
Start: the weights of version 1, which was trained on stretched images of 100 px and is kept in the
history: git show d583110:exports/efficientnet_lite0/1/model.keras > runs/version_1.keras

Score: 7.2 months (6.9 to 7.6) on the held-out training ids, n = 1,130 (`--mode=evaluate` of the
last stage), after 43 and 95 minutes on two cores beside other work.

The first stage uses images of 192 px in two of three epochs, which cost half as much as those of
256 px; the second stage only uses 256 px.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

# In users' radiographs hands fill more or less of the image than in the training images: they are
# larger, smaller, narrower and wider. The other augmentation is weaker, since the network still
# underfits.
_OTHER_FRAMES = {
    "age_loss_weight": 0.05,
    "epochs": 4,
    "learning_rate": 5e-4,
    "dropout": 0.2,
    "augmentation.rotation_degrees": 15.0,
    "augmentation.aspect_fraction": 0.2,
    "augmentation.zoom_fraction": 0.25,
    "augmentation.shrink_fraction": 0.3,
    "augmentation.sharpness": 0.4,
    "augmentation.tone": 0.6,
    "augmentation.crush": 0.05,
    "augmentation.marks": 0.1,
    "augmentation.cover": 0.1,
}

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
        Stage("other_frames", _OTHER_FRAMES, after=("real_pixels",), seed=8),
    ),
    pack_px=384,
    pack_quality=90,
)

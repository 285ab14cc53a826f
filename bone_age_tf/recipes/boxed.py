"""The weights that the project ships: EfficientNet-Lite0 on real radiographs at 256 px.

Command: python run.py --mode=recipe --recipe=boxed --manual_dir=DIR
Data: 90 % of the RSNA 2017 training images, cut by id, at their true aspect.
Start: the weights of version 1, which learned from stretched images of 100 px and are kept in the
history: git show d583110:exports/efficientnet_lite0/1/model.keras > runs/version_1.keras

Images of 192 px first: they cost half as much and bring most of what the larger ones bring. The
augmentation is milder than the model's own: real resolution needs less of it.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

_MILD = {
    "image_size_px": 256,
    "network_px": 0,
    "resize": "pad",
    "age_loss_weight": 0.05,
    "augmentation.rotation_degrees": 20.0,
    "augmentation.aspect_fraction": 0.1,
    "augmentation.zoom_fraction": 0.12,
    "augmentation.shrink_fraction": 0.25,
    "augmentation.shear": 0.05,
    "augmentation.sharpness": 0.5,
    "augmentation.tone": 0.7,
    "augmentation.crush": 0.06,
    "augmentation.grain": 0.02,
    "augmentation.marks": 0.15,
    "augmentation.cover": 0.15,
}

RECIPE = Recipe(
    name="boxed",
    model="efficientnet_lite0",
    dataset="rsna_bone_age/px512",
    stages=(
        Stage(
            "real_pixels",
            _MILD
            | {
                "epochs": 5,
                "learning_rate": 6e-4,
                "stage_scales": (0.75, 1.0),
                "stage_ends": (0.6, 1.0),
            },
            init="runs/version_1.keras",
            seed=7,
        ),
        Stage(
            "longer",
            _MILD
            | {
                "epochs": 16,
                "learning_rate": 8e-4,
                "stage_scales": (0.75, 1.0),
                "stage_ends": (0.5, 1.0),
            },
            after=("real_pixels",),
            seed=8,
        ),
    ),
    pack_px=384,
    pack_quality=90,
)

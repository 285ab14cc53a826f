"""The next weights in the box: EfficientNet-Lite0 on real radiographs at 256 px.

Command: python run.py --mode=recipe --recipe=boxed --manual_dir=DIR
Data: 90 % of the RSNA 2017 training images, cut by id, at their own aspect ratio.
Start: the weights of version 1, which learned from stretched images of 100 px:
mkdir -p runs && cp exports/efficientnet_lite0/1/model.keras runs/version_1.keras
Score: 7.8 months (7.4 to 8.1) on the held-out training ids, n = 1,130, after 43 minutes on two
cores; not good enough for the box, see benchmarks/RESULTS.md.

Most epochs see images of 192 px: they cost half as much as those of 256 px and bring most of what
the larger ones bring, which come at the end, when the learning rate falls.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

_REAL_PIXELS = {
    "image_size_px": 256,
    "network_px": 0,
    "resize": "pad",
    "served_resize": "",
    "age_loss_weight": 0.05,
    "augmentation.frame_aspect": 0.0,
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

# Users' films fill their frame more, and less, than the training images do: hands come larger and
# smaller, narrower and wider. What else changes the images is milder, since the network still
# learns more from them than it can hold.
_OTHER_FRAMES = _REAL_PIXELS | {
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
            _REAL_PIXELS
            | {
                "epochs": 3,
                "learning_rate": 6e-4,
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

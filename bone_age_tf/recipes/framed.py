"""EfficientNet-Lite0 on hands that the region detector has rotated, cropped and put in one frame.

Commands: python benchmarks/frame_radiographs.py --manual_dir=DIR --output=FRAMED
python run.py --mode=recipe --recipe=framed --precision=float32 --manual_dir=FRAMED
Data: 90 % of the RSNA 2017 training images, cut by id, each hand in its frame; the few whose hand
is doubtful are whole.
Start: version 2 of `efficientnet_lite0`, which was trained on whole radiographs and is kept in the
history: git show 13a9ba7:exports/efficientnet_lite0/2/model.keras > runs/version_2.keras

Score: 6.8 months (6.5 to 7.2) on the held-out training ids, n = 1,130, whole radiographs read in
the frame, after 71 minutes on two cores with AVX-512 beside other work.

One stage with one schedule, so that an interrupted training resumes where it was.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

# Every hand is upright and of one size, so position and size vary with the detector's errors only;
# tone, sharpness and objects in front of the hand vary as on whole radiographs.
AUGMENTATION = {
    "augmentation.rotation_degrees": 12.0,
    "augmentation.shift_fraction": 0.04,
    "augmentation.aspect_fraction": 0.1,
    "augmentation.zoom_fraction": 0.1,
    "augmentation.shrink_fraction": 0.12,
    "augmentation.sharpness": 0.4,
    "augmentation.tone": 0.6,
    "augmentation.crush": 0.05,
    "augmentation.marks": 0.1,
    "augmentation.cover": 0.1,
}
_FRAMES = {
    **AUGMENTATION,
    "age_loss_weight": 0.05,
    "epochs": 7,
    "learning_rate": 7e-4,
    "dropout": 0.2,
}

RECIPE = Recipe(
    name="framed",
    model="efficientnet_lite0",
    dataset="rsna_bone_age/px512",
    stages=(Stage("frames", _FRAMES, init="runs/version_2.keras", seed=11),),
    pack_px=320,
    pack_quality=90,
)

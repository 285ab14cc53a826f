"""Three short stages on drawn hands: two trainings from the same weights, and their mean.

Command: python run.py --mode=recipe --recipe=quick_phantoms
It demonstrates recipes and is used by the tests; its network is not useful.
"""

from bone_age_tf.recipes.recipe import Recipe, Stage

_SMALL = {
    "image_size_px": 48,
    "base_filters": 8,
    "dense_units": 32,
    "batch_size": 16,
    "epochs": 2,
    "stage_scales": (),
    "stage_ends": (),
}

RECIPE = Recipe(
    name="quick_phantoms",
    model="cnn",
    dataset="hand_phantom/tiny",
    stages=(
        Stage("first", _SMALL),
        Stage("second", _SMALL | {"learning_rate": 5e-4}, after=("first",), seed=1),
        Stage("mean", _SMALL | {"epochs": 0}, after=("first", "second")),
    ),
    pack_px=64,
    pack_quality=90,
)

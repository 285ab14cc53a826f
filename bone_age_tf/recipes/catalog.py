"""Which recipes there are. Standard library only: the command line lists them without Keras."""

import importlib
from typing import Final

from bone_age_tf.config import require_known
from bone_age_tf.recipes.recipe import Recipe

RECIPES: Final = {
    "boxed": "the weights that the project ships, from real radiographs",
    "quick_phantoms": "three short stages on drawn hands; shows and tests what recipes do",
}
"""Recipe name, which is its module's too, to what it trains."""


def load_recipe(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        ConfigError: there is no such recipe; the message lists those that there are.
    """
    require_known("recipe", name, RECIPES)
    return importlib.import_module(f"bone_age_tf.recipes.{name}").RECIPE

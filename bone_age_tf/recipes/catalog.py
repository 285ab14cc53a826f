"""Loads recipes by name."""

import importlib

from bone_age_tf.errors import require_known
from bone_age_tf.recipes.names import RECIPES
from bone_age_tf.recipes.recipe import Recipe


def load_recipe(name: str) -> Recipe:
    """Returns a recipe by its name.

    Raises:
        ConfigError: there is no such recipe; the message lists the existing recipes.
    """
    require_known("recipe", name, RECIPES)
    return importlib.import_module(f"bone_age_tf.recipes.{name}").RECIPE

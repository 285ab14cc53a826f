"""Names of the recipes. Standard library only, for the command line."""

from typing import Final

RECIPES: Final = {
    "boxed": "version 2 of efficientnet_lite0, from whole radiographs",
    "bonewise": "the shipped weights: the whole hand and each ossification region",
    "framed": "the whole hand alone, in its frame: the first weights of bonewise",
    "quick_phantoms": "three short stages on drawn hands; shows and tests what recipes do",
}
"""Purpose of each recipe by name, which is also the name of its module."""

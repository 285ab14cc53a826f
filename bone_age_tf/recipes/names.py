"""Names of the recipes. Standard library only, for the command line."""

from typing import Final

RECIPES: Final = {
    "boxed": "version 2 of the shipped weights, from whole radiographs",
    "bonewise": "the model bonewise: each ossification region beside the whole hand",
    "framed": "the weights that the project ships, on hands that the region detector finds",
    "quick_phantoms": "three short stages on drawn hands; shows and tests what recipes do",
}
"""Purpose of each recipe by name, which is also the name of its module."""

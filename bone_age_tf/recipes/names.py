"""Names of the recipes. Standard library only, for the command line."""

from typing import Final

RECIPES: Final = {
    "boxed": "the weights that the project ships, from real radiographs",
    "bonewise": "the model bonewise: each ossification region beside the whole hand",
    "framed": "one long stage on hands in the frame that the region detector finds",
    "quick_phantoms": "three short stages on drawn hands; shows and tests what recipes do",
}
"""Purpose of each recipe by name, which is also the name of its module."""

"""The Python code in the documentation runs, and gives the ages that the package gives."""

import io
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bone_age_tf.bundle import Bundle
from bone_age_tf.catalog import SHIPPED_MODEL
from bone_age_tf.images.encoded_pieces import GREY
from bone_age_tf.images.reading import read_radiograph
from bone_age_tf.prepare import draw_radiographs
from bone_age_tf.regions.framing import HandFramer
from image_files import png

ROUNDED = 0.06
MONTHS = 1.0
"""The example clips 16 bits at percentiles, which the package does for odd films alone."""


def snippets(root):
    """Returns the Python blocks of the README and the documentation, by place.

    Blocks that cannot be run here, such as trainings, are marked `py` and not `python`.
    """
    found = {}
    for path in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        blocks = re.findall(r"^```python\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)
        name = path.relative_to(root)
        found |= {f"{name} {place}": block for place, block in enumerate(blocks)}
    return found


@pytest.fixture(scope="module")
def hand():
    """A drawn hand with all greys from 0 to 255, and grain where margins would be cut off."""
    (film,) = draw_radiographs((120.0,), 320, seed=3)
    pixels = np.asarray(Image.open(io.BytesIO(film)), np.float64)
    pixels += np.random.default_rng(0).normal(0, 6, pixels.shape)
    return (pixels - pixels.min()) * 255 / np.ptp(pixels)


@pytest.mark.parametrize("depth", [8, 16])
def test_python_in_the_documentation_runs(root, hand, tmp_path, depth):
    bundle = Bundle.find(SHIPPED_MODEL, root / "exports")
    folder = bundle.folder
    data = png(np.rint(hand * (16 if depth == 16 else 1)).astype(int), depth, GREY)
    (tmp_path / "hand.png").write_bytes(data)
    predictor = bundle.predictor("float16")
    framed, _ = HandFramer(root / "exports").fit(read_radiograph(data), bundle.size_px)
    expected = predictor.predict(framed, 0).age_months
    predictions = 0
    for name, code in snippets(root).items():
        code = code.replace("exports/MODEL/VERSION", str(folder))
        code = code.replace("model_int8", "model_float16")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, (name, done.stderr)
        if "hand.png" in code:
            predictions += 1
            months = float(done.stdout.split()[0])
            assert months == pytest.approx(expected, abs=ROUNDED if depth == 8 else MONTHS), name
    assert predictions >= 1

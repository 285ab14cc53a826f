"""Are hands read and other pictures refused?

python benchmarks/refusal.py --input=cases.csv --pictures=FOLDER

Counts what prediction refuses of the radiographs of a table, of their halves, of pictures that come
with installed packages (scikit-learn, scikit-image, Matplotlib, and what lies under `--pictures`),
and of pages of text, charts, boards, noise and blank films that are drawn here. The film check
learns from other pages, stripes, grain and blank films, of its own making. A picture is refused by
the film check or because it is unlike what the model has learned from; each is counted too. The
last columns count the pictures on which the region detector finds a hand with certainty, which a
model that reads hands in their frame does not refuse, except those that perhaps show two hands.
"""

import argparse
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from bone_age_tf import schema
from bone_age_tf.images import reading, resizing
from bone_age_tf.inference.cases import collect_cases
from bone_age_tf.reader import load
from bone_age_tf.reasons import LEAST_SIDE_PX, NOT_FRAMED, PERHAPS_TWO, WHOLE_LIMIT
from bone_age_tf.regions.framing import HandFramer

PACKAGES = {"sklearn": "datasets/images", "skimage": "data", "matplotlib": "mpl-data"}
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".tif", ".tiff"}
DRAWN = 20


def pictures(extra: Path | None) -> Iterator[np.ndarray]:
    """Yields pictures [H, W] of installed packages and of a folder, 0 to 255."""
    folders = [] if extra is None else [extra]
    for package, place in PACKAGES.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            folders.append(Path(spec.origin).parent / place)
    for path in sorted(path for folder in folders for path in folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            try:
                grey = np.asarray(Image.open(path).convert("L"), np.float32)
            except (OSError, ValueError):
                continue
            if min(grey.shape) >= LEAST_SIDE_PX:
                yield grey


def text_pages(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields pages of this repository's words."""
    words = (Path(__file__).parents[1] / "README.md").read_text().split()
    for _ in range(DRAWN):
        page = Image.new("L", (600, 800), 255)
        size = int(random.integers(11, 30))
        font, pen = ImageFont.load_default(size), ImageDraw.Draw(page)
        for y in range(40, 760, round(1.4 * size)):
            start = random.integers(len(words) - 20)
            pen.text((40, y), " ".join(words[start : start + 20])[: 900 // size], 0, font)
        grey = np.asarray(page, np.float32)
        yield 255 - grey if random.random() < 0.5 else grey


def charts(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields line charts and bar charts."""
    for _ in range(DRAWN):
        figure = Figure(figsize=(5, 4))
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if random.random() < 0.5:
            axes.plot(random.normal(size=(60, 3)).cumsum(axis=0))
        else:
            axes.bar(range(8), random.uniform(1, 9, 8))
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png")
        yield np.asarray(Image.open(buffer).convert("L"), np.float32)


def patterns(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields boards, stripes, rings and grain."""
    y, x = np.mgrid[:300, :240].astype(np.float32)
    for _ in range(DRAWN):
        step = random.uniform(8, 60)
        yield 255 * ((y // step + x // step) % 2)
        yield 127 + 127 * np.sin((y * random.normal() + x * random.normal()) / step * 3)
        yield 127 + 127 * np.sin(np.hypot(y - 150, x - 120) / step * 4)
        yield random.uniform(0, 255, y.shape).astype(np.float32)


def blank_films(random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yields films without anything on them, black to white, some with grain."""
    for level in np.linspace(0, 255, DRAWN):
        yield np.full((300, 240), level, np.float32)
        grain = random.normal(0, 4, (300, 240)).astype(np.float32)
        yield np.clip(level + grain, 0, 255)


def halves(films: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields the four halves of each film."""
    for film in films:
        height, width = (side // 2 for side in film.shape)
        yield from (film[:height], film[height:], film[:, :width], film[:, width:])


def pairs(films: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields each film beside its mirror image, in both orders."""
    for film in map(resizing.trim_margins, films):
        mirrored = film[:, ::-1]
        yield np.hstack([film, mirrored])
        yield np.hstack([mirrored, film])


def main() -> None:
    """Looks at every set and prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", required=True, help="CSV with image,sex of whole hands")
    parser.add_argument("--model", help="default: the one that is shipped")
    parser.add_argument("--variant", help="default: the one that prediction takes")
    parser.add_argument("--exports_dir", type=Path, default=Path("exports"))
    parser.add_argument("--pictures", type=Path, help="more pictures that are no hands")
    options = parser.parse_args()
    reader = load(options.model, variant=options.variant, exports_dir=options.exports_dir)
    predictor, checker = reader.bundle.predictor(options.variant), reader.quality_checker
    framer = HandFramer(options.exports_dir)
    random = np.random.default_rng(0)
    hands = [reading.read_radiograph(case.path) for case in collect_cases(options.input)]
    sets = {
        "whole hands": iter(hands),
        "halves of them": halves(hands),
        "two of them side by side": pairs(hands),
        "pictures from packages": pictures(options.pictures),
        "pages of text": text_pages(random),
        "charts": charts(random),
        "boards, stripes, rings, grain": patterns(random),
        "blank films": blank_films(random),
    }
    print(f"{'':32}{'n':>6}{'refused':>9}{'by check':>10}", end="")
    print(f"{'unfamiliar':>12}{'hand found':>12}{'two':>8}")
    for name, films in sets.items():
        found = []
        for film in tqdm(films, name, disable=None, leave=False):
            find = None if reader.framer is None else reader.framer.find
            look = None if checker is None else checker.check(film, find)
            checked = look is not None and look.image is None
            right = film if look is None or look.image is None else look.image
            image, done = reader.fit_image(right)
            distance = predictor.predict(image, 0).unfamiliarity or 0.0
            limit = WHOLE_LIMIT if NOT_FRAMED in done else 1.0
            cropped = resizing.trim_margins(film)
            is_certain, two = framer.find(cropped).is_certain, False
            if checker is not None:
                square = resizing.resize(cropped, checker.size_px, "pad")
                kinds = checker.run_network(square)[schema.IMAGE_KIND][0]
                two = kinds[schema.TWO_HANDS] > PERHAPS_TWO
            found.append((checked, distance > limit, is_certain, two))
        checked, strange, there, two = np.array(found).T
        shares = ((checked | strange).mean(), checked.mean(), strange.mean(), there.mean())
        print(f"{name:32}{len(found):6}{shares[0]:9.1%}{shares[1]:10.1%}", end="")
        print(f"{shares[2]:12.1%}{shares[3]:12.1%}{two.mean():8.1%}")


if __name__ == "__main__":
    main()

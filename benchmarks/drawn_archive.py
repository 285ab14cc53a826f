"""Draws hands as files, all different, for measurements of speed."""

import concurrent.futures
import csv
import os
from pathlib import Path

import cv2
import numpy as np
from bone_age_datasets.hand_phantom.examples import make_example
from bone_age_datasets.hand_phantom.population import PhantomSettings
from tqdm import tqdm

DRAWN = 100
SEED = 0


def draw_archive(folder: Path, films: int, side_px: int) -> Path:
    """Draws PNG files with 8 bits; returns their manifest.

    There are up to `DRAWN` hands; the files differ by their grain, which cannot be compressed.

    Args:
        folder: folder for the files; it is made.
        films: number of files.
        side_px: their side in pixels.
    """
    folder.mkdir(parents=True)
    settings = PhantomSettings(image_size_px=side_px, test=DRAWN)
    drawn = [make_example(settings, "test", place) for place in range(min(films, DRAWN))]

    def draw(place: int) -> None:
        grain = np.random.default_rng([SEED, place]).integers(0, 4, (side_px,) * 2)
        pixels = np.asarray(drawn[place % len(drawn)][0])[..., 0]
        pixels = np.clip(pixels + grain, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"{place:06d}.png"), pixels)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(tqdm(pool.map(draw, range(films)), "drawing", films, disable=None, leave=False))
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "sex"])
        for place in range(films):
            writer.writerow([f"{place:06d}.png", drawn[place % len(drawn)][1]["sex"]])
    return folder / "manifest.csv"

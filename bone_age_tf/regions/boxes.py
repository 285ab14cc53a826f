"""Boxes of ossification regions from annotation files and from prepared phantoms."""

import dataclasses
import hashlib
import xml.etree.ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from bone_age_tf import schema
from bone_age_tf.data import pipeline
from bone_age_tf.errors import AnnotationError
from bone_age_tf.images import reading, resizing

ENDS = ("ymin", "xmin", "ymax", "xmax")
RAYS = {"MCP": (5, 4, 3, 2, 1), "PIP": (5, 4, 3, 2, 1), "DIP": (5, 4, 3, 2)}
"""Fingers by joint, from the little finger to the thumb, left to right on an upright left hand."""
SINGLE = ("wrist", "radius", "ulna")
BAND_MONTHS = 24
"""Ages within which images are counted for `RegionImages.balanced`."""
HELD_OUT = 48
"""Number of held-out annotated images, as in Koitka et al. 2018; chosen by the hash of the id."""


@dataclasses.dataclass(frozen=True)
class RegionImages:
    """Images with the boxes of their regions.

    Attributes:
        image_id: ids of the N images.
        images: [N, S, S] uint8, images resized to squares.
        boxes: [N, 17, 4] float32, ymin, xmin, ymax, xmax as fractions; NaN for a region that is
            not on the image.
        shares: [N] how often each is drawn in a training, adding up to 1; None: all alike.
    """

    image_id: list[str]
    images: np.ndarray
    boxes: np.ndarray
    shares: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image_id)

    def balanced(self, age_months: Mapping[str, float]) -> "RegionImages":
        """Returns the images with larger shares for ages of which there are few.

        Args:
            age_months: age by id.
        """
        bands = np.array([int(age_months[name] // BAND_MONTHS) for name in self.image_id])
        rarity = 1.0 / np.sqrt(np.bincount(bands)[bands])
        return dataclasses.replace(self, shares=rarity / rarity.sum())

    def chosen(self, selection: np.ndarray) -> "RegionImages":
        """Returns the images at indices [K] or in a mask [N]."""
        places = np.arange(len(self))[selection]
        ids = [self.image_id[place] for place in places]
        return RegionImages(ids, self.images[places], self.boxes[places])


def read_annotation(path: Path) -> dict[str, np.ndarray]:
    """Reads a Pascal VOC file.

    Returns:
        Boxes [K, 4] (ymin, xmin, ymax, xmax) by class in lower case, as fractions of the image size
        in the file.

    Raises:
        AnnotationError: the file is missing or not a Pascal VOC annotation.
    """
    boxes_by_class = defaultdict(list)
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
        width, height = (float(root.findtext(f"size/{side}", "")) for side in ("width", "height"))
        for element in root.findall("object"):
            box = [float(element.findtext(f"bndbox/{end}", "")) for end in ENDS]
            boxes_by_class[element.findtext("name", "").lower()].append(box)
    except (OSError, ValueError, xml.etree.ElementTree.ParseError) as error:
        raise AnnotationError(
            f"{path}: not a Pascal VOC annotation with a size and boxes ({error})"
        ) from None
    sides = np.array([height, width, height, width])
    return {name: np.array(boxes) / sides for name, boxes in boxes_by_class.items()}


def named_regions(boxes: dict[str, np.ndarray]) -> np.ndarray:
    """Assigns the boxes of an upright hand to its fingers.

    Fingers are sorted along the perpendicular to the line from the wrist to the knuckles, so that
    the hand may be tilted. The little finger is on the side of the ulna, so that right hands are
    named correctly too.

    Args:
        boxes: boxes [K, 4] by class: dip, pip, mcp, wrist, radius, ulna.

    Returns:
        [17, 4] float32 in the order of `schema.REGIONS`; NaN for a class whose number of boxes
        differs from that of a hand, since it is unknown which of them is missing.
    """
    regions = np.full((len(schema.REGIONS), 4), np.nan, np.float32)
    for name in SINGLE:
        if len(boxes.get(name, ())) == 1:
            regions[schema.REGIONS.index(name)] = boxes[name][0]
    along = np.array([-1.0, 0.0])
    if len(boxes.get("wrist", ())) and len(boxes.get("mcp", ())):
        line = _centres(boxes["mcp"]).mean(axis=0) - _centres(boxes["wrist"])[0]
        along = line / max(float(np.linalg.norm(line)), 1e-6)
    across = np.array([along[1], -along[0]])  # towards the thumb of a left hand
    if shows_right_hand(regions, along):
        across = -across
    for joint, rays in RAYS.items():
        of_joint = boxes.get(joint.lower(), np.zeros((0, 4)))
        if len(of_joint) == len(rays):
            order = np.argsort(_centres(of_joint) @ across)
            for ray, place in zip(rays, order, strict=True):
                regions[schema.REGIONS.index(f"{joint}{ray}")] = of_joint[place]
    return regions


def shows_right_hand(regions: np.ndarray, up: np.ndarray | None = None) -> bool:
    """Returns whether the ulna is on the right of the radius where the hand points upwards.

    Args:
        regions: [17, 4] boxes in the order of `schema.REGIONS`.
        up: [2] (y, x) from the wrist to the knuckles; None for straight up.
    """
    radius, ulna = (_centres(regions[schema.REGIONS.index(name)]) for name in ("radius", "ulna"))
    up = np.array([-1.0, 0.0]) if up is None else up
    return bool((radius - ulna) @ np.array([up[1], -up[0]]) < 0)  # False where one is missing


def _centres(boxes: np.ndarray) -> np.ndarray:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def read_annotated(
    builder: tfds.core.DatasetBuilder,
    folder: Path,
    size_px: int,
    split: str = "train",
    resize: str = "stretch",
) -> RegionImages:
    """Reads the images of a prepared dataset that have an annotation `<image id>.xml`.

    Images that are not fully annotated are excluded; right hands are mirrored to left hands.

    Args:
        builder: TFDS builder of the prepared dataset.
        folder: folder of the annotations.
        size_px: side of the square images in pixels.
        split: split of the dataset.
        resize: one of `schema.RESIZE_MODES`; the boxes are fractions of the resulting squares.

    Raises:
        AnnotationError: there are no annotations, none is of an image of the split, or one cannot
            be read.
    """
    boxes = {}
    for path in sorted(folder.glob("*.xml")):
        regions = named_regions(read_annotation(path))
        if np.isfinite(regions).all():
            boxes[path.stem] = regions
    if not boxes:
        raise AnnotationError(
            f"--boxes={folder}: no Pascal VOC file (.xml) there has all {len(schema.REGIONS)} boxes"
        )
    ids, images = [], []
    for row in pipeline.read_encoded(builder, pipeline.Part(split)).as_numpy_iterator():
        name = Path(row[schema.IMAGE_ID].decode()).stem
        if name in boxes:
            image = reading.read_radiograph(row[schema.IMAGE], name)
            if shows_right_hand(boxes[name]):
                image, boxes[name] = image[:, ::-1], mirrored_boxes(boxes[name])
            if resize == "pad":
                boxes[name] = padded_boxes(boxes[name], *image.shape)
            ids.append(name)
            images.append(resizing.to_uint8(resizing.resize(image, size_px, resize)))
    if not ids:
        raise AnnotationError(
            f"--boxes={folder}: no file there is named after an image of "
            f"{builder.info.full_name}, such as IMAGE_ID.xml"
        )
    return RegionImages(ids, np.stack(images), np.stack([boxes[name] for name in ids]))


def read_phantoms(
    builder: tfds.core.DatasetBuilder,
    split: str,
    size_px: int,
    most: int | None = None,
    resize: str = "stretch",
) -> RegionImages:
    """Reads images and boxes of a split of `hand_phantom`.

    Args:
        builder: the prepared dataset.
        split: split of the dataset.
        size_px: side of the square images in pixels.
        most: number of images; None for all.
        resize: one of `schema.RESIZE_MODES`. `pad` gives the images, which are drawn stretched, the
            usual aspect ratio of a radiograph, mirrors right hands to left hands and turns dark
            bones bright.
    """
    ids, images, boxes = [], [], []
    names = (schema.IMAGE, schema.IMAGE_ID, "regions", "laterality", "inverted")
    rows = builder.as_dataset(
        split=split if most is None else f"{split}[:{most}]",
        shuffle_files=False,
        decoders=tfds.decode.PartialDecoding(dict.fromkeys(names, True)),
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    is_right = builder.info.features["laterality"].str2int("right")
    for row in rows.as_numpy_iterator():
        ids.append(row[schema.IMAGE_ID].decode())
        image = row[schema.IMAGE][..., 0].astype(np.float32)
        known = np.full((len(schema.REGIONS), 4), np.nan, np.float32)
        for box, place in zip(row["regions"]["bbox"], row["regions"]["region"], strict=True):
            if box[2] > box[0] and box[3] > box[1]:
                known[place] = box
        if resize == "pad":
            width = round(schema.RADIOGRAPH_ASPECT * size_px)
            image = cv2.resize(image, (width, size_px), interpolation=cv2.INTER_AREA)
            image = 255.0 - image if row["inverted"] else image
            if row["laterality"] == is_right:
                image, known = image[:, ::-1], mirrored_boxes(known)
            known = padded_boxes(known, size_px, width)
        images.append(resizing.to_uint8(resizing.resize(image, size_px, resize)))
        boxes.append(known)
    return RegionImages(ids, np.stack(images), np.stack(boxes))


def padded_boxes(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Converts boxes from fractions of an image to fractions of the square of the mode `pad`.

    Args:
        boxes: [..., 4] ymin, xmin, ymax, xmax.
        height: height of the image in pixels.
        width: width of the image in pixels.
    """
    sides = np.array([height, width, height, width], np.float32)
    square = float(max(height, width))
    return (boxes * sides + (square - sides) / 2) / square


def mirrored_boxes(boxes: np.ndarray) -> np.ndarray:
    """Returns boxes [..., 4], fractions of an image, on the image mirrored horizontally."""
    ymin, xmin, ymax, xmax = np.moveaxis(boxes, -1, 0)
    return np.stack([ymin, 1.0 - xmax, ymax, 1.0 - xmin], axis=-1)


def held_out(ids: Iterable[str], count: int = HELD_OUT) -> set[str]:
    """Returns the given number of ids with the smallest hashes."""
    by_hash = sorted(ids, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    return set(by_hash[:count])


def moved(image: np.ndarray, matrix: np.ndarray, border: float) -> np.ndarray:
    """Transforms an image [S, S] by an affine map [2, 3] from old to new pixels (x, y)."""
    return cv2.warpAffine(image, matrix, image.shape[::-1], borderValue=(border,))

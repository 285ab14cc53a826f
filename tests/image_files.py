"""Files of every kind that a PNG or JPEG can be, made by hand where Pillow cannot write them."""

import functools
import io
import itertools
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from bone_age_tf.images.encoded_pieces import GREY, GREY_ALPHA, PALETTE, PNG_SIGNATURE, RGB, RGBA

CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
_NAMES = {GREY: "grey", RGB: "colour", PALETTE: "palette", GREY_ALPHA: "grey alpha", RGBA: "alpha"}
# Of the PNG specification, apart from the package's own table, which the tests are to check.
_DEPTHS = {
    GREY: (1, 2, 4, 8, 16),
    RGB: (8, 16),
    PALETTE: (1, 2, 4, 8),
    GREY_ALPHA: (8, 16),
    RGBA: (8, 16),
}
_ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
_ADAM7 += [(1, 0, 2, 2), (0, 1, 1, 2)]
_SHAPE = (37, 53)


def chunk(kind, body):
    """Returns the bytes of a PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values, depth, colour_type, *, interlaced=False, after=b"", **chunks):
    """Writes PNG bytes by hand.

    Args:
        values: [H, W] or [H, W, C] sample values.
        depth: bits a sample.
        colour_type: a PNG colour type.
        interlaced: in the seven passes of Adam7.
        after: chunks to put behind the pixels, as bytes.
        **chunks: contents of chunks to put before the pixels, by name.
    """
    samples = np.asarray(values)
    height, width = samples.shape[:2]
    passes = _ADAM7 if interlaced else [(0, 0, 1, 1)]
    pixels = b"".join(
        b"\0" + _packed(row.ravel(), depth)
        for left, top, across, down in passes
        for row in samples[top::down, left::across]
        if row.size
    )
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, interlaced)
    return (
        PNG_SIGNATURE
        + chunk(b"IHDR", header)
        + b"".join(chunk(name.encode(), data) for name, data in chunks.items())
        + chunk(b"IDAT", zlib.compress(pixels))
        + after
        + chunk(b"IEND", b"")
    )


def _packed(row, depth):
    if depth == 16:
        return row.astype(">u2").tobytes()
    bits = (row[:, np.newaxis] >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.ravel().astype(np.uint8)).tobytes()


def every_png():
    """Returns a PNG file of each colour type, depth, transparency and interlacing, by name."""
    random = np.random.default_rng(0)
    files = {}
    for colour_type, depths in _DEPTHS.items():
        for depth, interlaced in itertools.product(depths, (False, True)):
            shape = _SHAPE if CHANNELS[colour_type] == 1 else (*_SHAPE, CHANNELS[colour_type])
            values = random.integers(0, 2**depth, shape)
            chunks = {}
            if colour_type == PALETTE:
                chunks["PLTE"] = random.integers(0, 256, 3 * 2**depth, np.uint8).tobytes()
            name = f"{_NAMES[colour_type]} {depth} bits{' interlaced' * interlaced}"
            files[name] = png(values, depth, colour_type, interlaced=interlaced, **chunks)
            if colour_type in (GREY, RGB):
                chunks["tRNS"] = np.ravel(values[5, 5]).astype(">u2").tobytes()
            elif colour_type == PALETTE:
                chunks["tRNS"] = random.integers(0, 256, 2**depth - 1, np.uint8).tobytes()
            else:
                continue
            files[name + " tRNS"] = png(values, depth, colour_type, interlaced=interlaced, **chunks)
    return files


def smooth(shape, seed=0):
    """Returns uint8 pixels that JPEG keeps."""
    noise = np.random.default_rng(seed).uniform(0, 255, shape)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def jpeg(pixels, mode=None, **options):
    """Returns JPEG bytes of uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode).save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def segment(marker, body):
    """Returns the bytes of a JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def without_adobe(data):
    """Returns a JPEG file without Adobe's marker."""
    start = data.index(b"\xff\xee")
    return data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]


def every_jpeg():
    """Returns a JPEG file of each colour model, plain and progressive, by name."""
    grey, colour, inks = smooth((64, 48)), smooth((64, 48, 3), 1), smooth((64, 48, 4), 2)
    files = {}
    for progressive in (False, True):
        options = {"progressive": progressive}
        cmyk = jpeg(inks, "CMYK", **options)
        # The last byte of Adobe's marker says how the inks are coded; 2 is YCCK.
        at = cmyk.index(b"Adobe") + 11
        ycck = cmyk[:at] + b"\2" + cmyk[at + 1 :]
        kinds = {
            "grey": jpeg(grey, **options),
            "YCbCr": jpeg(colour, **options),
            "YCbCr subsampled": jpeg(colour, subsampling=2, **options),
            "RGB": jpeg(colour, keep_rgb=True, **options),
            "CMYK": cmyk,
            "CMYK without Adobe": without_adobe(cmyk),
            "YCCK": ycck,
            "YCCK without Adobe": without_adobe(ycck),
        }
        word = " progressive" * progressive
        files |= {f"jpeg {name}{word}": data for name, data in kinds.items()}
    return files


def burdened_files():
    """Returns sound pixels in files whose other pieces are broken or huge, by name."""
    values = smooth(_SHAPE).astype(int)
    huge = zlib.compress(b"x" * 3_000_000)
    pieces = {
        "huge zTXt": {"zTXt": b"c\0\0" + huge},
        "huge iTXt": {"iTXt": b"c\0\1\0\0\0" + huge},
        "huge tEXt": {"tEXt": b"c\0" + b"x" * 1_000_000},
        "broken zTXt": {"zTXt": b"c\0\0broken"},
        "broken iTXt": {"iTXt": b"c\0\1"},
        "broken iCCP": {"iCCP": b"c\0\0broken"},
        "huge iCCP": {"iCCP": b"c\0\0" + huge},
        "empty iCCP": {"iCCP": b""},
        "broken eXIf": {"eXIf": b"MM\0*\xff\xff\xff\xff"},
        "endless eXIf": {"eXIf": b"II*\0\x08\0\0\0\xff\xff" + bytes(40)},
        "broken pHYs": {"pHYs": b"x"},
        "broken gAMA": {"gAMA": b""},
        "broken cHRM": {"cHRM": b"x"},
        "broken acTL": {"acTL": b"x"},
        "unknown chunk": {"abCd": b"x" * 99},
        "tRNS of a wrong length": {"tRNS": b"abc"},
    }
    files = {f"png {name}": png(values, 8, GREY, **chunks) for name, chunks in pieces.items()}
    text = bytearray(png(values, 8, GREY, tEXt=b"c\0hello"))
    text[text.index(b"hello")] ^= 1
    files["png text with a wrong check sum"] = bytes(text)
    key = np.array([values[5, 5]], ">u2").tobytes()
    files["png tRNS behind the pixels"] = png(values, 8, GREY, after=chunk(b"tRNS", key))
    turned = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    files["png eXIf behind the pixels"] = png(values, 8, GREY, after=chunk(b"eXIf", turned))
    colours = np.arange(6, dtype=np.uint8).tobytes()
    files["png place outside the palette"] = png(values % 4, 2, PALETTE, PLTE=colours)
    plain = jpeg(smooth((64, 48)))
    pieces = {
        "broken EXIF": segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
        "endless EXIF": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + bytes(40)),
        "broken profile": segment(0xE2, b"ICC_PROFILE\0\x09\x02broken"),
        "broken MPF": segment(0xE2, b"MPF\0broken"),
        "broken Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\xff"),
        "many comments": segment(0xFE, b"x" * 60_000) * 60,
        "turned by XMP": segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation="8"/>'),
    }
    return files | {f"jpeg {name}": plain[:2] + piece + plain[2:] for name, piece in pieces.items()}


def spoiled_sixteen_bits():
    """Returns 16-bit files of one picture, 0 to 16383, whose ends are set by something else."""
    film = (smooth((60, 50)).astype(int) * 257) // 4
    marked, hot = film.copy(), film.copy()
    marked[:6, :20] = 65535
    hot[3, [5, 9, 20]] = 60000, 65000, 65535
    padded = np.pad(film + 49152, 40)
    arrays = {"sound": film, "marker": marked, "hot pixels": hot, "offset and padding": padded}
    files = {f"16 bits, {name}": png(values, 16, GREY) for name, values in arrays.items()}
    colour = np.stack([marked] * 3, axis=-1)
    return files | {"16 bits, colour, marker": png(colour, 16, RGB)}


def faulty_films(hand):
    """Returns files of one hand [H, W] uint8 as scanners, viewers and converters spoil it, by name.

    What begins with "few" has too few grey levels; of all others, the age is that of "sound".
    """
    height, width = hand.shape
    grey = hand.astype(np.float64)
    deep = hand.astype(np.uint16) * 16
    files = {"sound": png(hand, 8, GREY)}
    for levels in (3, 5, 8, 11):
        few = (np.rint(grey / 255 * (levels - 1)) * 255 / (levels - 1)).astype(np.uint8)
        files[f"few: {levels} levels"] = png(few, 8, GREY)
    few[4:12, 4:40] = np.random.default_rng(0).integers(0, 256, (8, 36))
    files["few: 11 levels and a marker"] = png(few, 8, GREY)
    files["few: dithered"] = png(np.asarray(Image.fromarray(hand).convert("1"), int), 1, GREY)
    for depth in (1, 2, 4, 8):
        most = 2**depth - 1
        ramp = np.repeat(np.arange(most + 1) * 255 // most, 3).astype(np.uint8).tobytes()
        name = f"{'few: ' * (depth < 4)}palette of {depth} bits"
        files[name] = png(hand >> (8 - depth), depth, PALETTE, PLTE=ramp)
    files["4 bits with tRNS"] = png(hand >> 4, 4, GREY, tRNS=b"\0\0")
    for edge in (0, 5, 60, 128, 255):
        around = [(height // 2,) * 2, (width // 2,) * 2]
        files[f"surround of {edge}"] = png(np.pad(hand, around, constant_values=edge), 8, GREY)
    files["surround of 128, JPEG"] = jpeg(np.pad(hand, around, constant_values=128))
    page = np.pad(np.pad(hand, 60), 50, constant_values=255)
    files["white page around a black frame"] = png(page, 8, GREY)
    files["16 bits"] = png(deep, 16, GREY)
    hot, marked, padded = deep.copy(), deep.copy(), np.pad(deep + 32768, height // 3)
    hot[5, 5] = marked[8:40, 8:80] = 65535
    files["16 bits, a hot pixel"] = png(hot, 16, GREY)
    files["16 bits, a marker of 65535"] = png(marked, 16, GREY)
    files["16 bits, offset and padding of 0"] = png(padded, 16, GREY)
    colour = np.stack([marked] * 3, axis=-1)
    files["16 bits, colour, a marker of 65535"] = png(colour, 16, RGB)
    text = b"c\0\0" + zlib.compress(b"x" * 2_000_000)
    files["a long text"] = png(hand, 8, GREY, zTXt=text)
    inks = np.stack([255 - hand] * 3 + [hand * 0], axis=-1)
    files["inks without Adobe's marker"] = without_adobe(jpeg(inks, "CMYK"))
    return files


def refused_files():
    """Returns files that no runtime reads, by name."""
    values = smooth(_SHAPE).astype(int)
    whole = png(values, 8, GREY)
    damaged = bytearray(whole)
    damaged[damaged.index(b"IEND") - 5] ^= 1  # in the check sum of the pixels
    methods = bytearray(whole)
    methods[26] = 1  # of compression; the only one that there is has the number 0
    methods[29:33] = zlib.crc32(methods[12:29]).to_bytes(4, "big")
    plain = jpeg(smooth((64, 48)))
    return {
        "png signature": PNG_SIGNATURE,
        "png cut": whole[:-9],
        "png wrong check sum": bytes(damaged),
        "png unknown method": bytes(methods),
        "png unknown critical chunk": png(values, 8, GREY, ABCD=b"x"),
        "png without palette": png(values % 4, 2, PALETTE),
        "jpeg signature": plain[:3],
        "jpeg header": plain[:40],
        "jpeg cut": plain[: len(plain) // 2],
        "text": b"no image at all",
        "nothing": b"",
    }


@functools.cache
def every_file():
    """Returns all of these."""
    kinds = every_png() | every_jpeg()
    return kinds | burdened_files() | refused_files() | spoiled_sixteen_bits()

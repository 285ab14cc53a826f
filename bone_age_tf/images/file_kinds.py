"""Recognises types of files other than PNG and JPEG by their first bytes. Standard library only.

The table is used by the local reader, by the SavedModel and by the web page.
"""

from typing import Final

OTHER_KINDS: Final = (
    (128, "DICM", "a DICOM file; save the image as PNG in your viewer"),
    (0, "II*\0", "a TIFF file; save it as PNG"),
    (0, "MM\0*", "a TIFF file; save it as PNG"),
    (0, "GIF8", "a GIF file; save it as PNG"),
    (0, "BM", "a BMP file; save it as PNG"),
    (8, "WEBP", "a WebP file; save it as PNG"),
    (4, "ftyp", "a HEIC, AVIF or video file; save the picture as JPEG"),
    (0, "\0\0\0\x0cjP", "a JPEG 2000 file; save it as PNG"),
    (0, "%PDF", "a PDF file; save its picture as PNG"),
    (0, "PK", "a ZIP or Office file; take the images out of it"),
)
"""Offset of the signature, the signature (Latin-1), and description with advice for each type."""
HEAD_BYTES: Final = 140
"""Number of bytes at the beginning of a file that contain every signature."""


def describe_kind(data: bytes) -> str:
    """Returns the continuation of "not a PNG or JPEG image", or an empty text.

    An example is " but a TIFF file; save it as PNG".

    Args:
        data: the file's bytes, or the first `HEAD_BYTES` of them.
    """
    head = data[:HEAD_BYTES].decode("latin-1")
    for place, mark, text in OTHER_KINDS:
        if head.startswith(mark, place):
            return f" but {text}"
    return ""

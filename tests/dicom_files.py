"""DICOM files of made-up hands, for tests."""

import io
import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
from bone_age_datasets.hand_phantom.examples import make_example
from bone_age_datasets.hand_phantom.population import PhantomSettings
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

COMPUTED_RADIOGRAPHY = "1.2.840.10008.5.1.4.1.1.1"


def drawn_hand(side_px=96):
    """A made-up hand [H, W] float, 0 to 255, with grain."""
    image = make_example(PhantomSettings(image_size_px=side_px), "test", 0)[0][..., 0]
    grain = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image + grain, 0, 255)


def make_dataset(stored, bits=12, **tags):
    """A CR image of integers [H, W], or [H, W, 3] for colours; tags replace the usual ones."""
    stored = np.asarray(stored)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset = Dataset()
    dataset.file_meta = meta
    allocated = 8 if bits <= 8 else 16
    usual = {
        "SOPClassUID": COMPUTED_RADIOGRAPHY,
        "SOPInstanceUID": "1.2.3.3",
        "StudyInstanceUID": "1.2.3.1",
        "SeriesInstanceUID": "1.2.3.2",
        "Modality": "CR",
        "PatientSex": "F",
        "PatientBirthDate": "20100301",
        "StudyDate": "20200901",
        "Rows": stored.shape[0],
        "Columns": stored.shape[1],
        "SamplesPerPixel": 1 if stored.ndim == 2 else 3,
        "PhotometricInterpretation": "MONOCHROME2" if stored.ndim == 2 else "RGB",
        "BitsAllocated": allocated,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(stored.min() < 0),
    }
    if stored.ndim == 3:
        usual["PlanarConfiguration"] = 0
    for keyword, value in (usual | tags).items():
        if value is not None:
            setattr(dataset, keyword, value)
    kind = "i" if stored.min() < 0 else "u"
    pixels = stored.astype(f"<{kind}{allocated // 8}").tobytes()
    dataset.PixelData = pixels + bytes(len(pixels) % 2)
    dataset["PixelData"].VR = "OW" if allocated > 8 else "OB"
    return dataset


def to_bytes(dataset):
    """The bytes of a file with the dataset's transfer syntax."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def file_bytes(stored, bits=12, syntax="explicit", **tags):
    """The bytes of a file; see `make_dataset` and `SYNTAXES`."""
    return SYNTAXES[syntax](make_dataset(stored, bits, **tags))


def _native(syntax):
    def write(dataset):
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == uid.ExplicitVRBigEndian:
            words = np.frombuffer(dataset.PixelData, "<u2" if dataset.BitsAllocated == 16 else "u1")
            dataset.PixelData = words.astype(words.dtype.newbyteorder(">")).tobytes()
            for keyword in ("ModalityLUTSequence", "VOILUTSequence"):
                for item in dataset.get(keyword, []):
                    item = deepcopy(item)
                    item.LUTData = np.frombuffer(item.LUTData, "<u2").astype(">u2").tobytes()
                    setattr(dataset, keyword, [item])
        return to_bytes(dataset)

    return write


def _compressed(syntax):
    def write(dataset):
        dataset.compress(syntax, generate_instance_uid=False)
        return to_bytes(dataset)

    return write


def _jpeg_lossless(dataset):
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        plain, packed = (str(Path(folder) / name) for name in ("plain.dcm", "packed.dcm"))
        Path(plain).write_bytes(to_bytes(dataset))
        reader = gdcm.ImageReader()
        reader.SetFileName(plain)
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFileName(packed)
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        compressed = pydicom.dcmread(packed)
    assert compressed.file_meta.TransferSyntaxUID == uid.JPEGLosslessSV1
    return with_frame(
        dataset,
        uid.JPEGLosslessSV1,
        pydicom.encaps.get_frame(compressed.PixelData, 0, number_of_frames=1),
    )


def _jpeg_baseline(dataset):
    shape = (dataset.Rows, dataset.Columns)
    image = Image.fromarray(
        np.frombuffer(dataset.PixelData, np.uint8)[: shape[0] * shape[1]].reshape(shape)
    )
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=100)
    return with_frame(dataset, uid.JPEGBaseline8Bit, buffer.getvalue())


def with_frame(dataset, syntax, frame):
    """The bytes of a file whose pixel data is one compressed frame."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return to_bytes(dataset)


SYNTAXES = {
    "explicit": _native(uid.ExplicitVRLittleEndian),
    "implicit": _native(uid.ImplicitVRLittleEndian),
    "big endian": _native(uid.ExplicitVRBigEndian),
    "deflated": _native(uid.DeflatedExplicitVRLittleEndian),
    "RLE": _compressed(uid.RLELossless),
    "JPEG-LS": _compressed(uid.JPEGLSLossless),
    "JPEG 2000": _compressed(uid.JPEG2000Lossless),
    "JPEG lossless": _jpeg_lossless,
    "JPEG baseline": _jpeg_baseline,
}
"""Functions from a dataset to the bytes of a file, by the name of the compression."""


def lookup_table(entries, first=0, bits=16):
    """An item of a LUT sequence; the entries are integers."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries) % 65536, first, bits])
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return [item]


def code(value, scheme="LN"):
    """A sequence with one code."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "study"
    return [item]

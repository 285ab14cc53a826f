"""Retrieves the radiographs of a study from a DICOMweb server, by WADO-RS."""

import atexit
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bone_age_tf.errors import InputError
from bone_age_tf.extras import named_extras
from bone_age_tf.images import dicom, dicom_facts
from bone_age_tf.images.dicom_tags import Tags, quiet

if TYPE_CHECKING:
    from pydicom import Dataset

_SCHEMES: Final = ("http://", "https://")
_UID: Final = r"[0-9.]+"
_ADDRESS: Final = re.compile(
    rf"(?P<service>https?://.+)/studies/(?P<study>{_UID})(?:/series/(?P<series>{_UID}))?/?"
)
_AS_STORED: Final = (("application/dicom", "*"),)
"""Media type and transfer syntax in which objects are asked for: as the server has them."""


def is_url(text: str | Path) -> bool:
    """Returns whether an input is the address of a server."""
    return isinstance(text, str) and text.startswith(_SCHEMES)


def retrieve(url: str) -> dict[str, Path]:
    """Retrieves the radiographs of a study or a series.

    Objects of other modalities, objects without pixels and results of this package are left out. A
    login is taken from `~/.netrc`. The files lie in a temporary folder that is removed when the
    process ends.

    Args:
        url: address of a study, `https://HOST/dicom-web/studies/UID`, or of a series of it.

    Returns:
        Files by the address of the object.

    Raises:
        InputError: the address names no study, the server does not answer, or it has no
            radiographs there.
        MissingExtraError: dicomweb-client is not installed.
    """
    match = _ADDRESS.fullmatch(url)
    if match is None:
        raise InputError(
            f"{url}: not the address of a study; write https://HOST/dicom-web/studies/UID"
        )
    with named_extras("a study on a DICOMweb server"):
        import requests
        from dicomweb_client.web import DICOMwebClient
    client = DICOMwebClient(match["service"], timeout=60)
    client.set_http_retry_params(retry=False)
    folder = Path(tempfile.mkdtemp(prefix="bone-age-study-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    files = {}
    try:
        with quiet():
            for number, dataset in enumerate(_objects(client, match["study"], match["series"])):
                if not _is_radiograph(Tags(dataset)):
                    continue
                path = folder / f"{number}{dicom.SUFFIXES[0]}"
                dataset.save_as(path)
                uids = [dataset.SeriesInstanceUID, "instances", dataset.SOPInstanceUID]
                name = "/".join([match["service"], "studies", match["study"], "series", *uids])
                files[name] = path
    except requests.HTTPError as error:
        status = "no status" if error.response is None else error.response.status_code
        raise InputError(f"{url}: the server answered with HTTP status {status}") from None
    except requests.RequestException as error:
        raise InputError(f"{url}: the server does not answer ({type(error).__name__})") from None
    if not files:
        raise InputError(f"{url}: no radiographs there; their modality is {_modalities()}")
    return files


def _objects(client: Any, study: str, series: str | None) -> Iterator["Dataset"]:
    if series is None:
        yield from client.iter_study(study, media_types=_AS_STORED)
    else:
        yield from client.iter_series(study, series, media_types=_AS_STORED)


def _is_radiograph(tags: Tags) -> bool:
    is_own = dicom_facts.is_own_result(tags)
    return tags.text("Modality") in ("", *dicom.MODALITIES) and "PixelData" in tags and not is_own


def _modalities() -> str:
    return ", ".join(dicom.MODALITIES)

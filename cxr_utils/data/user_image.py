"""Reads a user's own image (PNG, JPEG or DICOM) as an 8-bit array, or rejects a file that is not a frontal chest X-ray.

A model returns probabilities for any image. Therefore files are rejected here if their content or DICOM tags show that
they are something else. An image without such signs is accepted: this check cannot prove that it is a chest X-ray.
"""

import io
import warnings
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from cxr_utils import download
from cxr_utils.data import contrast
from cxr_utils.data.dicom_pixels import read_gray
from cxr_utils.data.dicom_tags import check_tags, describe_patient
from cxr_utils.data.pixels import decode

_PNG, _JPEG, _DICOM = b"\x89PNG", b"\xff\xd8\xff", b"DICM"
# How DICOM files without the preamble begin: a tag of group 0002 or 0008.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
# How many times as long as wide NIH's images are, at most.
_LONGEST = 1.85
_END_OF_JPEG, _START_OF_SCAN = b"\xff\xd9", b"\xff\xda"


def read_user_image(path, accepted=()):
    """Reads an image as exported from a clinical system or saved from a web page.

    The pixels of an 8-bit PNG or JPEG are returned unchanged. Pixels of 16 bits, and those of DICOM after rescaling and
    windowing, are scaled linearly to 0–255 (lowest to highest value). The models standardize each image, so only the
    relative differences between gray values matter.

    Args:
        path: of a PNG or JPEG of 8 or 16 bits, or of a DICOM file with one frame.
        accepted: names of DICOM tags that may say something else than a frontal chest X-ray, see
            `dicom_tags.check_tags`.

    Returns:
        `(image, notes)`: `image` is `(height, width)` uint8 with bright bones; `notes` is a list of warnings (str) for
        the user, often empty.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the path is a folder; or the file is empty, damaged, in color, the same gray value everywhere, or
            has DICOM tags that exclude a single frontal chest X-ray.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path.name} is a folder: pass its frontal images one by one.")
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} does not exist: expected the path of a PNG, JPEG or DICOM file.")
    data = path.read_bytes()
    if data[128:132] == _DICOM or data[:2] in _FIRST_GROUPS:
        image, notes = _read_dicom(data, path.name, accepted)
    else:
        image, notes = _read_picture(data, path.name), describe_patient(pydicom.Dataset())
        image, problem = contrast.to_8_bits(image) if image.itemsize > 1 else (image, contrast.problem_of(image))
        if problem:
            raise ValueError(f"{path.name} cannot be a chest X-ray: {problem}.")
    if max(image.shape) > _LONGEST * min(image.shape):
        size = f"{image.shape[1]}×{image.shape[0]} pixels"
        notes.insert(0, f"WARNING: no image of NIH's is as long as this one ({size}): check that it is a whole chest.")
    return image, notes


def _read_picture(data, name):
    """Returns the gray values of a PNG or JPEG, `(height, width)` uint8 or uint16."""
    if data.startswith(_PNG):
        defect = download.png_defect(data, depths=(1, 2, 4, 8, 16))
    elif data.startswith(_JPEG):
        # Decoders fill the missing part of a truncated JPEG with gray. The end marker cannot occur within a scan. An
        # embedded preview has an end marker too, therefore the last one must follow the last start of a scan.
        truncated = data.rfind(_END_OF_JPEG) < data.rfind(_START_OF_SCAN)
        defect = f"is truncated after {len(data):,} bytes" if truncated else None
    else:
        defect = "is not a PNG, JPEG or DICOM file" if data else "is empty"
    return decode(data, name, defect, "a chest X-ray as PNG, JPEG or DICOM")


def _read_dicom(data, name, accepted):
    """Returns the picture of a DICOM file, `(height, width)` uint8 with bright bones, and a list of warnings."""
    # pydicom's warnings and errors quote values, which may be names of patients.
    with warnings.catch_warnings(action="ignore"):
        try:
            dataset = pydicom.dcmread(io.BytesIO(data), force=True)
            dataset.remove_private_tags()
            if "TransferSyntaxUID" not in dataset.file_meta:
                implicit, _ = dataset.original_encoding
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        # A damaged file can raise nearly any exception in pydicom.
        except Exception as error:
            raise ValueError(f"{name} is a damaged DICOM file ({type(error).__name__}): export it again.") from error
        notes = check_tags(dataset, name, accepted)
        image, more = read_gray(dataset, name)
        return image, [*notes, *more, *describe_patient(dataset)]

"""Reads a user's own image (PNG, JPEG or DICOM) as an 8-bit array, or rejects a file that is not a frontal chest X-ray.

A model returns probabilities for any image. Therefore files are rejected here if their content or DICOM tags show that
they are something else. An image without such signs is accepted: this check cannot prove that it is a chest X-ray.
"""

import io
import re
from pathlib import Path

import cv2
import numpy as np

from cxr_utils import download

# DICOM modalities of radiographs: computed, digital and conventional radiography, or OT ("other").
_RADIOGRAPHS = ("CR", "DX", "RG", "OT")
_PNG, _JPEG, _DICOM = b"\x89PNG", b"\xff\xd8\xff", b"DICM"
_END_OF_JPEG, _START_OF_SCAN = b"\xff\xd9", b"\xff\xda"
# Largest difference between red, green and blue, of 255, that a grayscale image may have: JPEG rounding stays below it.
_COLORED = 8
_ADULT = 18  # years


def read_user_image(path):
    """Reads an image as exported from a clinical system or saved from a web page.

    The pixels of an 8-bit PNG or JPEG are returned unchanged. Pixels of 16 bits, and those of DICOM after rescaling and
    windowing, are scaled linearly to 0–255 (lowest to highest value). The models standardize each image, so only the
    relative differences between gray values matter.

    Args:
        path: of a PNG or JPEG of 8 or 16 bits, or of a DICOM file (needs pydicom) with one frame.

    Returns:
        `(image, notes)`: `image` is `(height, width)` uint8 with bright bones; `notes` is a list of warnings (str) for
        the user, often empty.

    Raises:
        FileNotFoundError: the file does not exist.
        ModuleNotFoundError: the file is DICOM and pydicom is not installed.
        ValueError: the path is a folder; or the file is empty, damaged, in color, the same gray value everywhere, or
            has DICOM tags that exclude a single frontal chest X-ray.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path.name} is a folder: pass its frontal images one by one.")
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} does not exist: expected the path of a PNG, JPEG or DICOM file.")
    data = path.read_bytes()
    if data[128:132] == _DICOM:
        values, notes = _read_dicom(data, path.name)
    else:
        values, notes = _read_picture(data, path.name), []
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        raise ValueError(f"{path.name} has the same gray value everywhere: expected a chest X-ray.")
    if values.dtype != np.uint8:
        values = np.rint(np.interp(values, (lowest, highest), (0, 255))).astype(np.uint8)
    return values, notes


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
        defect = f"is not a PNG, JPEG or DICOM file (it begins with {data[:8]!r})" if data else "is empty"
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    try:
        image = None if defect else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{name} {defect or 'cannot be decoded'}: expected a chest X-ray as PNG, JPEG or DICOM.")
    if image.ndim == 2:
        return image
    # The 99th percentile, so that an image with a small colored mark is accepted.
    spread = np.percentile(np.ptp(image.astype(np.int32), axis=2), 99) * 255 / np.iinfo(image.dtype).max
    if spread > _COLORED:
        raise ValueError(f"{name} is in color: expected a grayscale image exported from the X-ray system, not a photo.")
    return image.max(axis=2)


def _read_dicom(data, name):
    """Returns the gray values of a DICOM file, `(height, width)` with bright bones, and a list of warnings."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} is a DICOM file, which needs pydicom: pip install 'pydicom>=3,<4'."
        ) from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
    # A damaged file can raise nearly any exception in pydicom.
    except Exception as error:
        raise ValueError(
            f"{name} is a damaged DICOM file ({type(error).__name__}: {error}): export it again."
        ) from error
    _reject_by_tags(dataset, name)
    try:
        stored = dataset.pixel_array
    except Exception as error:
        syntax, reason = dataset.file_meta.get("TransferSyntaxUID"), " ".join(str(error).split())
        raise ValueError(
            f"{name}: the pixels cannot be read ({type(error).__name__}: {reason}). They are stored as "
            f"{getattr(syntax, 'name', 'unknown')}: export it again, uncompressed, or install a decoder for it."
        ) from error
    if stored.ndim != 2:
        raise ValueError(
            f"{name} contains pixels of shape {stored.shape}: expected one grayscale image of shape (height, width)."
        )
    try:
        values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float64)
    except Exception as error:
        raise ValueError(
            f"{name}: its window or rescaling cannot be applied ({' '.join(str(error).split())}): export it again."
        ) from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values
    if "PixelPaddingValue" in dataset:
        # Padding around the image can have any value. It must not count as the brightest bone or the darkest air.
        first, last = sorted(
            [dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)]
        )
        padding = (stored >= first) & (stored <= last)
        if not padding.all():
            values[padding] = values[~padding].min()
    return values, _age_warning(dataset)


def _reject_by_tags(dataset, name):
    """Raises `ValueError` if the tags exclude a single frontal chest X-ray in grayscale; absent tags are accepted."""

    def text(tag):
        return str(dataset.get(tag) or "").strip().upper()

    frames = int(dataset.get("NumberOfFrames") or 1)
    modality, part, description = text("Modality"), text("BodyPartExamined"), text("SeriesDescription")
    code = dataset.get("ViewCodeSequence")
    coded = str(code[0].get("CodeMeaning", "")).upper() if code else ""
    view = text("ViewPosition") or coded
    views = " / ".join(dict.fromkeys(filter(None, [view, coded])))
    frontal = re.search(r"\b(AP|PA)(\b|_)|\bA\w*[ -]*P\w*OR\b|\bP\w*[ -]*A\w*OR\b|FRONTAL", view)
    lateral_series = re.search(r"\bLAT(ERAL)?\b", description) and not re.search(r"\b(PA|AP)\b", description)
    rows_towards = str((dataset.get("PatientOrientation") or [""])[0])
    photometric = text("PhotometricInterpretation")
    for wrong, defect in (
        ("PixelData" not in dataset, "contains no image: expected a DICOM file with one chest X-ray"),
        (frames > 1, f"has {frames} frames: expected a single image"),
        (
            modality and modality not in _RADIOGRAPHS,
            f"has modality {modality}: expected a radiograph ({', '.join(_RADIOGRAPHS)})",
        ),
        (
            part and not re.search("CHEST|THORAX|LUNG", part),
            f"shows {part} (BodyPartExamined): expected a chest X-ray",
        ),
        (
            view and (not frontal or re.search("OBL|LAT", f"{view} {coded}")),
            f"has view {views}: expected a frontal view, PA or AP",
        ),
        (
            not view and lateral_series,
            f"has view '{description}' (SeriesDescription): expected a frontal view, PA or AP",
        ),
        (
            rows_towards.upper().startswith(("A", "P")),
            f"is a lateral view (PatientOrientation: rows run towards {rows_towards}): "
            "expected a frontal view, PA or AP",
        ),
        (
            not photometric.startswith("MONOCHROME"),
            f"is in color ({photometric or 'no PhotometricInterpretation'}): expected a grayscale image",
        ),
    ):
        if wrong:
            raise ValueError(f"{name} {defect}.")


def _age_warning(dataset):
    """Returns a list with one warning if the tags show a patient under 18, else an empty list; it contains no date."""
    age = re.fullmatch(r"(\d{3})([DWMY])", str(dataset.get("PatientAge") or "").strip())
    if age:
        years = int(age[1]) / {"D": 365, "W": 52, "M": 12, "Y": 1}[age[2]]
    else:
        birth, study = (str(dataset.get(tag) or "") for tag in ("PatientBirthDate", "StudyDate"))
        if not (re.fullmatch(r"\d{8}", birth) and re.fullmatch(r"\d{8}", study)):
            return []
        # Dates are YYYYMMDD: their difference as numbers, divided by 10,000, is the age in completed years.
        years = (int(study) - int(birth)) // 10_000
    if years >= _ADULT:
        return []
    return ["WARNING: this is a child's image. The model was trained mostly on adults: do not rely on its predictions."]

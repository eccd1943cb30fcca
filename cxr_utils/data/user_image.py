"""An image of one's own: PNG, JPEG or DICOM → one 8-bit array, or why it is none that a model here can judge.

A model answers whatever it is shown. So what the file itself tells of being no frontal chest X-ray is refused.
"""

import io
import re
from pathlib import Path

import cv2
import numpy as np

from cxr_utils import download

# Modalities of radiographs: computed, digital, of image; and "other", which says nothing.
_RADIOGRAPHS = ("CR", "DX", "RG", "OT")
_PNG, _JPEG, _DICOM = b"\x89PNG", b"\xff\xd8\xff", b"DICM"
_END_OF_JPEG, _START_OF_SCAN = b"\xff\xd9", b"\xff\xda"
_COLORED = 8  # of 255, by which red, green and blue differ: more than the rounding of a JPEG of a gray image
_ADULT = 18


def read_user_image(path):
    """Reads an image as it came from a clinic or a web page.

    An 8-bit picture stays as it is. Of 16 bits, or of DICOM after its window, the darkest value becomes 0 and the brightest 255: the
    models standardise each image, so that only the order and the relative distances of grays count.

    Args:
        path: of a PNG or JPEG of 8 or 16 bits, or of DICOM (needs pydicom) with one frame.

    Returns:
        `(image, notes)`: `(height, width)` uint8, bones bright, and a list of sentences about it that a user should read.

    Raises:
        FileNotFoundError: there is no such file.
        ModuleNotFoundError: it is DICOM, and pydicom is not installed.
        ValueError: it is a folder, empty, damaged, in color, of one gray all over, or by its tags no single frontal chest X-ray.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(
            f"{path.name} is a folder: a series is not judged as a whole. Give its frontal images one by one."
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path.name}: there is no such file.")
    data = path.read_bytes()
    if data[128:132] == _DICOM:
        values, notes = _read_dicom(data, path.name)
    else:
        values, notes = _read_picture(data, path.name), []
    if values.min() == values.max():
        raise ValueError(f"{path.name} has the same gray everywhere: expected a chest X-ray.")
    return values if values.dtype == np.uint8 else _stretch(values), notes


def _read_picture(data, name):
    """Returns the grays of a PNG or JPEG, `(height, width)` uint8 or uint16."""
    if data.startswith(_PNG):
        fault = download.png_defect(data, depths=(1, 2, 4, 8, 16))
    elif data.startswith(_JPEG):
        # A decoder fills what is missing with gray. The end's mark can't occur within the scans; a preview has one of its own.
        cut = data.rfind(_END_OF_JPEG) < data.rfind(_START_OF_SCAN)
        fault = f"is truncated after {len(data):,} bytes" if cut else None
    else:
        fault = f"is no PNG, JPEG or DICOM (it begins with {data[:8]!r})" if data else "is empty"
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    try:
        image = None if fault else cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:
        image = None
    if image is None:
        raise ValueError(f"{name} {fault or 'can not be decoded'}: expected a chest X-ray as PNG, JPEG or DICOM.")
    if image.ndim == 2:
        return image
    # A small colored mark is no reason to refuse an image.
    spread = np.percentile(np.ptp(image.astype(np.int32), axis=2), 99) * 255 / np.iinfo(image.dtype).max
    if spread > _COLORED:
        raise ValueError(f"{name} is in color, as a photograph is: expected a gray image from the X-ray device itself.")
    return image.max(axis=2)


def _read_dicom(data, name):
    """Returns the grays of a DICOM file, bones bright, `(height, width)`, and notes."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{name} is DICOM, which needs pydicom: pip install 'pydicom>=3,<4'.") from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
    # A damaged file fails with nearly any exception.
    except Exception as error:
        raise ValueError(f"{name} is damaged DICOM ({type(error).__name__}: {error}): export it again.") from error
    _reject_by_tags(dataset, name)
    try:
        stored = dataset.pixel_array
    except Exception as error:
        syntax, why = dataset.file_meta.get("TransferSyntaxUID"), " ".join(str(error).split())
        raise ValueError(
            f"{name}: its pixels can't be read ({type(error).__name__}: {why}). They are stored as {getattr(syntax, 'name', 'unknown')}: export it "
            "again, uncompressed, or install what reads that."
        ) from error
    if stored.ndim != 2:
        raise ValueError(
            f"{name} holds pixels of the shape {stored.shape}: expected a single gray image, whatever its tags say."
        )
    try:
        values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float64)
    except Exception as error:
        raise ValueError(
            f"{name}: its window or rescaling can't be applied ({' '.join(str(error).split())}): export it again."
        ) from error
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        values = -values
    if "PixelPaddingValue" in dataset:
        # Around the image, of any value: it counts neither as bone nor as air.
        first, last = sorted(
            [dataset.PixelPaddingValue, dataset.get("PixelPaddingRangeLimit", dataset.PixelPaddingValue)]
        )
        padding = (stored >= first) & (stored <= last)
        if not padding.all():
            values[padding] = values[~padding].min()
    return values, _age_note(dataset)


def _reject_by_tags(dataset, name):
    """Raises `ValueError` where the tags tell of something else than one frontal chest X-ray in gray."""

    def text(tag):
        return str(dataset.get(tag) or "").strip().upper()

    if "PixelData" not in dataset:
        raise ValueError(f"{name} holds no image: expected a DICOM file of one chest X-ray.")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ValueError(f"{name} is a series of {frames} frames: expected a single image.")
    if text("Modality") and text("Modality") not in _RADIOGRAPHS:
        raise ValueError(
            f"{name} is of modality {text('Modality')}: expected a radiograph ({', '.join(_RADIOGRAPHS)})."
        )
    part = text("BodyPartExamined")
    if part and not re.search("CHEST|THORAX|LUNG", part):
        raise ValueError(f"{name} shows {part} (BodyPartExamined): expected a chest X-ray.")
    code = dataset.get("ViewCodeSequence")
    coded = str(code[0].get("CodeMeaning", "")).upper() if code else ""
    view = text("ViewPosition") or coded
    frontal = re.search(r"\b(AP|PA)(\b|_)|\bA\w*[ -]*P\w*OR\b|\bP\w*[ -]*A\w*OR\b|FRONTAL", view)
    if view and (not frontal or re.search("OBL|LAT", f"{view} {coded}")):
        raise ValueError(
            f"{name} is of view {' / '.join(dict.fromkeys(filter(None, [view, coded])))}: expected a frontal one, PA or AP."
        )
    told = text("SeriesDescription")
    if not view and re.search(r"\bLAT(ERAL)?\b", told) and not re.search(r"\b(PA|AP)\b", told):
        raise ValueError(f"{name} is of view '{told}' (SeriesDescription): expected a frontal one, PA or AP.")
    across = dataset.get("PatientOrientation")
    if across and str(across[0]).upper()[:1] in ("A", "P"):
        raise ValueError(
            f"{name} is a lateral view (its rows run towards {across[0]}): expected a frontal one, PA or AP."
        )
    photometric = text("PhotometricInterpretation")
    if not photometric.startswith("MONOCHROME"):
        raise ValueError(
            f"{name} is in color ({photometric or 'no PhotometricInterpretation'}): expected a gray image."
        )


def _age_note(dataset):
    """Returns a list with a sentence when the patient is a child, as far as the file tells; it names no date."""
    age = re.fullmatch(r"(\d{3})([DWMY])", str(dataset.get("PatientAge") or "").strip())
    if age:
        years = int(age[1]) / {"D": 365, "W": 52, "M": 12, "Y": 1}[age[2]]
    else:
        born, taken = (str(dataset.get(tag) or "") for tag in ("PatientBirthDate", "StudyDate"))
        if not (re.fullmatch(r"\d{8}", born) and re.fullmatch(r"\d{8}", taken)):
            return []
        # Dates as numbers, YYYYMMDD: their difference in years, whole ones.
        years = (int(taken) - int(born)) // 10_000
    return ["WARNING: a child's image. The model was trained on adults: do not rely on it."] if years < _ADULT else []


def _stretch(values):
    """Returns values as uint8, the lowest as 0 and the highest as 255."""
    lowest, highest = float(values.min()), float(values.max())
    return np.rint((values - lowest) * (255 / (highest - lowest))).astype(np.uint8)

"""From the pixels of a DICOM file to gray values with bright bones, whatever its tags say.

Tags are applied as the standard says (PS3.3 C.7.6.3, C.7.6.11, C.8.7.3, C.11.1, C.11.2, C.11.6). One that contradicts
the pixels, cannot be read, or leaves a picture without contrast is ignored, with a warning.
"""

from contextlib import suppress

import cv2
import numpy as np
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, pixel_array

from cxr_utils.data import contrast
from cxr_utils.data.dicom_tags import text

_RESCALE = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")
_WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
_NUMBERS = ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth")
_CHECK = "check in the figure that bones are bright"
_MUCH_OUTSIDE = 0.5
# Padding surrounds the radiograph and is darker or brighter than it. A value of which more than these shares of the
# image are not connected to its edge is a gray value; the second share is for values within the range of the others.
_MOST_PADDING_INSIDE = (0.01, 0.001)
_GRADUAL = 0.15  # of the range of gray values, between padding and what surrounds it
_MOST_BEYOND = 0.005  # share of the image beyond padding, such as marks
_LEAST_INSIDE = 0.1  # share of the image that shutters have to leave


def read_gray(dataset, name):
    """Reads the picture of a DICOM file.

    Args:
        dataset: `pydicom.Dataset` with the pixels of one grayscale image; it is changed.
        name: str, of the file, for messages.

    Returns:
        `(image, notes)`: `(height, width)` uint8 with bright bones, and a list of warnings (str).

    Raises:
        ValueError: the pixels cannot be decoded, or no reading of them has the contrast of a chest X-ray.
    """
    notes = [note for tag in (*_RESCALE, *_WINDOW) if tag in dataset and (note := _repair(dataset, tag))]
    if "RescaleSlope" in dataset and "RescaleIntercept" not in dataset:
        dataset.RescaleIntercept = 0  # pydicom applies both or none
    defaults = {"SamplesPerPixel": 1, "PixelRepresentation": 0, "BitsStored": text(dataset, "BitsAllocated")}
    for tag, usual in defaults.items():
        if text(dataset, tag) == "" and str(usual).isdigit():
            setattr(dataset, tag, int(usual))
            notes.append(f"WARNING: the tag {tag} is missing; it is taken to be {usual}.")
    with suppress(Exception):  # pydicom knows tables of 8 and of 16 bits only; others are stored in 16
        for table in dataset.get("ModalityLUTSequence", []):
            table.LUTDescriptor = [*table.LUTDescriptor[:2], 8 if table.LUTDescriptor[2] <= 8 else 16]
    with suppress(Exception):  # one of these tags may be absent or damaged
        if dataset.BitsStored <= dataset.HighBit < dataset.BitsAllocated and not dataset.PixelRepresentation:
            dataset.BitsStored = dataset.HighBit + 1  # left-aligned values, which pydicom would cut
    stored = _decode(dataset, name)
    if stored.ndim != 2:
        raise ValueError(f"{name} contains pixels of shape {stored.shape}: expected one grayscale image.")
    for tag, other in (("BitsStored", dataset.BitsAllocated), ("PixelRepresentation", 1 - dataset.PixelRepresentation)):
        stored = _without_wraps(dataset, tag, other, stored, notes)
    outside = _padding(dataset, stored)
    sign = -1 if _inverted(dataset, notes) else 1
    if outside.any() and not outside.all():
        _, regions = cv2.connectedComponents(outside.astype(np.uint8))
        inside = outside & ~np.isin(regions, [regions[0], regions[-1]]) & ~np.isin(regions, regions[:, [0, -1]])
        values, others = stored[outside].astype(float), stored[~outside].astype(float)
        beyond = min((stored < values.min()).mean(), (stored > values.max()).mean())
        # Bright tissue that touches the edge passes into saturation gradually; padding does not.
        around = stored[(cv2.dilate(outside.astype(np.uint8), np.ones((5, 5))) > 0) & ~outside].astype(float)
        low, high = np.percentile(others, (5, 95))
        gradual = np.median(np.abs(around - np.median(values))) < _GRADUAL * (high - low)
        bright = outside.mean() > _MOST_PADDING_INSIDE[0] and sign * np.median(values) > sign * np.median(others)
        if inside.mean() > _MOST_PADDING_INSIDE[int(beyond > _MOST_BEYOND)] or (bright and gradual):
            notes.append("WARNING: the tag PixelPaddingValue is a gray value within the image and is ignored.")
            outside[:] = False
    for prefix in ("Shutter", "Collimator"):
        outside |= _behind(dataset, prefix, stored.shape, notes)
    if outside.all():
        outside[:] = False
    if outside.mean() > _MUCH_OUTSIDE:
        notes.append(f"WARNING: by its tags, {100 * outside.mean():.0f} % of the picture is no part of the radiograph.")
    problem = None
    for warning, read in _readings(dataset, stored):
        try:
            image, new_problem = contrast.to_8_bits(sign * np.asarray(read(), np.float64), outside)
        except Exception:  # of pydicom, whose messages may contain the text of a tag
            new_problem = "its look-up table or rescaling cannot be applied"
        if new_problem is None:
            return image, notes + ([f"WARNING: {warning}: {problem}."] if problem else [])
        problem = problem or new_problem
    raise ValueError(f"{name} cannot be a chest X-ray as it is stored: {problem}. Export it again.")


def _readings(dataset, stored):
    """Returns the ways to read the values, best first: a list of `(what is ignored, function without arguments)`."""
    # The window is applied to rescaled values. If pydicom saw a negative slope there, it would invert them once more.
    rescaled = Dataset()
    rescaled.update(dataset)
    rescaled.file_meta = dataset.file_meta  # with the byte order of look-up tables
    for tag in _RESCALE:
        rescaled.pop(tag, None)

    def windowed(number, prefer_lut):
        return lambda: apply_voi_lut(apply_modality_lut(stored, dataset), rescaled, number, prefer_lut)

    found = [
        ("", windowed(0, True)),
        ("the VOI LUT is ignored", windowed(0, False)),
        ("the first window is ignored", windowed(1, False)),
        (f"the window or VOI LUT is ignored; {_CHECK}", lambda: apply_modality_lut(stored, dataset)),
    ]
    if "ModalityLUTSequence" in dataset or dataset.get("RescaleSlope", 1) < 0:
        return found  # without it, the picture might be inverted
    return [*found, ("the rescaling and the window are ignored", lambda: stored)]


def _repair(dataset, tag):
    """Deletes an empty tag, and reads numbers with a decimal comma; returns a warning if it cannot be read."""
    try:
        value = dataset[tag].value
    except Exception:  # pydicom converts a value when it is asked for
        value = dataset.get_item(tag).value
    if value is None or (hasattr(value, "__len__") and not len(value)):
        del dataset[tag]
    elif tag in _NUMBERS or isinstance(value, bytes):
        text_ = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        parts = text_.split("\\") if isinstance(value, (bytes, str)) or not hasattr(value, "__len__") else value
        try:
            numbers = [float(str(part).replace(",", ".")) for part in parts]
        except ValueError:
            numbers = [np.nan]
        if np.isfinite(numbers).all() and (len(numbers) == 1 or tag in _WINDOW):
            setattr(dataset, tag, numbers)
        else:
            del dataset[tag]
            return f"WARNING: the tag {tag} cannot be read and is ignored."
    return None


def _decode(dataset, name):
    """Returns the stored values; raises `ValueError` if they cannot be decoded."""
    try:
        return pixel_array(dataset)
    except Exception as error:
        syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
        raise ValueError(
            f"{name}: its pixels cannot be read ({type(error).__name__}). They are stored as "
            f"{getattr(syntax, 'name', 'unknown')}: export the image again, uncompressed."
        ) from error


def _without_wraps(dataset, tag, other, stored, notes):
    """Returns the stored values as a tag or another value of it gives them, whichever has fewer wraps.

    Wrong bits or a wrong sign make gray values wrap around. The bits that `BitsStored` hides may belong to the image,
    or be overlays of old files. Adds a warning if the tag is ignored.
    """
    kept, range_ = dataset[tag].value, 2**dataset.BitsStored
    setattr(dataset, tag, other)
    with suppress(ValueError):
        found = _decode(dataset, "")
        padding = _padding(dataset, found)
        if padding.any() and tag == "BitsStored" and (found == stored)[~padding].all():
            return found  # the other bits declare nothing but padding
        if _wraps(dataset, stored, found, range_) > _wraps(dataset, found, stored, range_):
            notes.append(f"WARNING: the tag {tag} contradicts the pixels and is ignored.")
            return found
    setattr(dataset, tag, kept)
    return stored


def _wraps(dataset, stored, other, range_):
    """Returns how many neighboring pixels differ by more than half the range, but hardly in another reading."""
    # Marks and borders often have no or all bits set: 65535, which is -1 with a sign.
    raw = stored.astype(f"u{stored.itemsize}")
    inside = ~(_padding(dataset, other) | np.isin(raw, (0, range_ - 1, np.iinfo(raw.dtype).max)))
    step, small = (np.abs(np.diff(values.astype(np.int64), axis=1)) for values in (stored, other))
    return (inside[:, 1:] & inside[:, :-1] & (step > range_ / 2) & (small < range_ / 8)).sum()


def _padding(dataset, stored):
    """Returns which pixels are padding; the value may be written signed or unsigned, whatever the pixels are."""
    try:
        limits = [dataset.get(tag) for tag in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
        first, *last = [int(value) for value in limits if value not in (None, "")]
    except Exception:
        return np.zeros(stored.shape, bool)
    size = 2 ** (8 * stored.itemsize)
    lowest = int(np.iinfo(stored.dtype).min)
    first, last = sorted((value - lowest) % size + lowest for value in (first, *(last or [first])))
    return (stored >= first) & (stored <= last)


def _behind(dataset, prefix, shape, notes):
    """Returns which pixels are behind a display shutter or collimator (`prefix`); adds a warning if it is ignored."""
    inside = np.ones(shape, bool)
    rows, columns = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    try:
        for kind in text(dataset, f"{prefix}Shape").split():
            if kind == "RECTANGULAR":
                left, right, upper, lower = (
                    int(dataset[f"{prefix}{edge}Edge"].value)
                    for edge in ("LeftVertical", "RightVertical", "UpperHorizontal", "LowerHorizontal")
                )
                (left, right), (upper, lower) = sorted((left, right)), sorted((upper, lower))
                inside &= (columns >= left) & (columns <= right) & (rows >= upper) & (rows <= lower)
            elif kind == "CIRCULAR":
                row, column = dataset[f"CenterOfCircular{prefix}"].value
                inside &= np.hypot(rows - row, columns - column) <= int(dataset[f"RadiusOfCircular{prefix}"].value)
            elif kind == "POLYGONAL":
                vertices = np.reshape([int(v) for v in dataset[f"VerticesOfThePolygonal{prefix}"].value], (-1, 2))
                inside &= cv2.fillPoly(np.zeros(shape, np.uint8), [np.int32(vertices[:, ::-1] - 1)], 1) > 0
            elif kind == "BITMAP":
                inside &= dataset.overlay_array(int(dataset.ShutterOverlayGroup)) == 0
    except Exception:
        inside[:] = False
    if inside.mean() >= _LEAST_INSIDE:
        return ~inside
    notes.append(f"WARNING: the tag {prefix}Shape cannot be read or leaves little of the image: it is ignored.")
    return np.zeros(shape, bool)


def _inverted(dataset, notes):
    """Returns whether high values are dark; adds a warning if the tags on it contradict each other."""
    dark, shape = text(dataset, "PhotometricInterpretation") == "MONOCHROME1", text(dataset, "PresentationLUTShape")
    with suppress(Exception):
        table = dataset.PresentationLUTSequence[0].LUTData
        shape = "INVERSE" if table[0] > table[-1] else "IDENTITY"
    if (dark and shape == "IDENTITY") or (not dark and shape == "INVERSE"):
        notes.append(
            f"WARNING: the tags PhotometricInterpretation and PresentationLUTShape contradict each other; {_CHECK}."
        )
    return dark or shape == "INVERSE"

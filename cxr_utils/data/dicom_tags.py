"""What the tags of a DICOM file say about it: is it a frontal chest X-ray, and of whom?

Tags that a device fills from a list decide (modality, body part, view). Free text only leads to a warning, as it may be
about another image of the study; it is never shown, as it may contain a patient's name.
"""

import re
import unicodedata
from contextlib import suppress

FRONTAL, LATERAL = "frontal", "lateral"
_ADULT = 18  # years
_OLDEST = 120
# Modalities of radiographs: computed, digital and conventional radiography, "other", and what devices write for them.
_RADIOGRAPHS = ("CR", "DX", "RG", "OT", "DR", "XR")
_UNKNOWN = re.compile(r"UNK\w*|UNDEFINED|UNSPECIFIED|OTHER|ANY|NONE|N ?/? ?A|X+|\W*")
# Words and beginnings of words, in capitals without accents. A spine is not a chest, although it may be thoracic.
_CHEST = re.compile(
    "CHEST|THORA|TORA|TORRE|LUNG|PULM|POUMON|PECHO|PEITO|BRUST|BORST|BROST|RINTA|MELLKAS|GOGUS|KLATKA|HRUD|CXR|THX"
    "|POLMON|PLUC|AKCIGER"
)
_NOT_CHEST = re.compile("SPINE|COLU[MN]|WIRBEL|RACHIS|VERTEB|WERVEL|SPINA|ESPIN|PATER")
_LATERAL_WORDS = re.compile(
    r"\b[LR]?LAT\b|\b[LR]?LATERA|\b[LR]L\b|\bL[-/ ]L\b|PROFIL|PERFIL|SEITL|ZIJ|BOCN|BOCZN|SIVU|\bSIDO|OLDAL|YAN\b|БОК|"
    r"侧|側|OBLI[CQ]|SCHRAG|\b[LR]([AP]O|L[DO])\b|(?<!SUPINE )(?<!SUPINO )DECUB(?!\w* (SUPIN|DORSAL))"
)
_FRONTAL_WORDS = re.compile(
    r"\b(AP|PA)(?![A-Z])|\bA\w*[ -]*P\w*OR\b|\bP\w*[ -]*A\w*OR\b|FRONT|\bFACE\b|\bFRENTE\b|正位|ПРЯМ"
)
# Free text that often names the view of the image.
_FREE_TEXT = (
    "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "PerformedProcedureStepDescription",
    "RequestedProcedureDescription", "StudyDescription", "ImageComments",
)  # fmt: skip
# What may be shown of a tag: terms of the standard and numbers of frames. Anything else may be a name.
_TERMS = re.compile(
    r"\d{1,3}|CT|MR|US|NM|PT|MG|XA|RF|ES|SEG|SR|RTDOSE|RGB|PALETTE COLOR|YBR [A-Z0-9 ]+|ABDOMEN|ANKLE|ARM|BREAST|"
    r"CSPINE|ELBOW|EXTREMITY|FEMUR|FINGER|FOOT|FOREARM|HAND|HEAD|HEEL|HIP|KNEE|LEG|LSPINE|NECK|PELVIS|SHOULDER|SKULL|"
    r"SPINE|THORACIC SPINE|TSPINE|WHOLEBODY|WRIST"
)
ACCEPTABLE_TAGS = ("Modality", "BodyPartExamined", "ViewPosition")
_STUDY_DATES = ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
CHILD = "WARNING: this is a child's image. The model was trained mostly on adults: do not rely on its predictions."


def text(dataset, keyword):
    """Returns a tag as text in capitals without accents, dots and repeated spaces; `""` if it is absent or damaged."""
    try:
        value = dataset.get(keyword)
    # pydicom converts a value when it is asked for; a damaged one can raise nearly any exception.
    except Exception:
        return ""
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    joined = " ".join(str(part) for part in values if part is not None)
    plain = "".join(c for c in unicodedata.normalize("NFKD", joined) if not unicodedata.combining(c))
    # "P.A." is "PA", but "5.5" stays.
    return " ".join(re.sub(r"\.(?!\d)|(?<!\d)\.", "", plain).replace("_", " ").upper().split())


def _quoted(dataset, keyword):
    """Returns the text of a tag for a message if it is a known term, as anything else may be a name."""
    found = text(dataset, keyword)
    return found if _TERMS.fullmatch(found) else "another value" if found else "no value"


def check_tags(dataset, name, accepted=()):
    """Rejects a file whose tags exclude a single frontal chest X-ray in grayscale.

    Args:
        dataset: `pydicom.Dataset`.
        name: str, of the file, for messages.
        accepted: names of tags of which any value is accepted, of `ACCEPTABLE_TAGS`.

    Returns:
        List of str, warnings for the user.

    Raises:
        ValueError: the tags exclude it; absent, empty and unknown tags do not.
    """
    modality, part, photometric = (
        text(dataset, tag) for tag in ("Modality", "BodyPartExamined", "PhotometricInterpretation")
    )
    frames, (view, source) = text(dataset, "NumberOfFrames"), _view(dataset)
    for wrong, defect in (
        ("PixelData" not in dataset, "contains no image: expected a DICOM file with one chest X-ray"),
        (frames not in ("", "0", "1"), f"has {_quoted(dataset, 'NumberOfFrames')} frames: expected a single image"),
        (
            not photometric.startswith("MONOCHROME"),
            f"has the PhotometricInterpretation {_quoted(dataset, 'PhotometricInterpretation')}: expected MONOCHROME1 "
            "or MONOCHROME2, a grayscale image",
        ),
    ):
        if wrong:
            raise ValueError(f"{name} {defect}.")
    notes = []
    for tag, wrong, defect in (
        (
            "Modality",
            modality not in ("", *_RADIOGRAPHS),
            f"has the modality {_quoted(dataset, 'Modality')}: expected a radiograph",
        ),
        (
            "BodyPartExamined",
            not _UNKNOWN.fullmatch(part) and (_NOT_CHEST.search(part) or not _CHEST.search(part)),
            f"shows {_quoted(dataset, 'BodyPartExamined')} (BodyPartExamined): expected a chest X-ray",
        ),
        (
            "ViewPosition",
            view == LATERAL,
            f"is a lateral or oblique view ({source}): expected a frontal view, PA or AP",
        ),
    ):
        if wrong and tag not in accepted:
            raise ValueError(f"{name} {defect}. If the tag is wrong: --accept {tag}.")
        if wrong:
            notes.append(f"WARNING: the image {defect}. It was accepted (--accept {tag}).")
    if text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        notes.append(
            "WARNING: these are raw values of the detector (FOR PROCESSING): export the image for presentation."
        )
    axes = [axis[:1] for axis in text(dataset, "PatientOrientation").split()]
    if len(axes) == 2 and set(axes) <= set("LRFH") and axes != ["L", "F"]:
        notes.append("WARNING: the tag PatientOrientation says that the image is mirrored or rotated: turn it first.")
    if part and _UNKNOWN.fullmatch(part):
        notes.append("WARNING: the tag BodyPartExamined does not say that this is a chest.")
    return notes


def describe_patient(dataset=None):
    """Returns warnings about age and view, a list of str; it contains no date and no text of a tag.

    Args:
        dataset: `pydicom.Dataset`, or `None` for a file without tags.
    """
    notes, missing = [], ["the patient's age", "the view"]
    if dataset is not None:
        ages = [age for age in (_age_of_tag(dataset), _age_of_dates(dataset)) if age is not None]
        if ages and min(ages) < _ADULT:
            notes.append(CHILD)
        view, _ = _view(dataset)
        lateral = [tag for tag in _FREE_TEXT if _view_of(text(dataset, tag)) == LATERAL]
        if lateral:
            notes.append(
                f"WARNING: the tag {lateral[0]} says that this is not a frontal view: do not rely on the predictions."
            )
        missing = [what for what, known in zip(missing, (ages, lateral or view), strict=True) if not known]
    if missing:
        notes.append(
            f"The file does not state {' and '.join(missing)}: use it only for frontal images (PA or AP) of adults."
        )
    return notes


def _view(dataset):
    """Returns the view by the tags that a device fills, and the name of the tag; `(None, None)` if none states it.

    `LATERAL` includes oblique and decubitus views. It is the result if any of the tags says so.
    """
    towards = text(dataset, "PatientOrientation")[:1]
    found = {
        "ViewPosition": _view_of(text(dataset, "ViewPosition"), both=LATERAL),
        "ViewCodeSequence": None,
        "PatientOrientation": LATERAL if towards in ("A", "P") else FRONTAL if towards in ("L", "R") else None,
    }
    with suppress(Exception):  # the sequence may be absent, empty or damaged
        found["ViewCodeSequence"] = _view_of(text(dataset.ViewCodeSequence[0], "CodeMeaning"), both=LATERAL)
    return next(((view, tag) for view in (LATERAL, FRONTAL) for tag in found if found[tag] == view), (None, None))


def _view_of(words, both=None):
    """Returns the view that a text names, `None` if it names none, and `both` if it names two."""
    lateral, frontal = (
        _LATERAL_WORDS.search(words),
        _FRONTAL_WORDS.search(re.sub(r"\b([AP])[-/]([AP])\b", r"\1\2", words)),
    )
    if lateral and frontal:
        return both
    return LATERAL if lateral else FRONTAL if frontal else None


def _age_of_tag(dataset):
    """Returns `PatientAge` in years, however it is written; `None` if it is absent or impossible."""
    # "058Y", "7", "6 MONTHS", "6,5 ANS": a number, and a unit unless it is years.
    age = re.match(r"0*(\d{1,5})(?:[.,]\d+)?\s*([DWM])?", text(dataset, "PatientAge"))
    if not age:
        return None
    years = int(age[1]) / {"D": 365, "W": 52, "M": 12, None: 1}[age[2]]
    return years if years <= _OLDEST else None


def _age_of_dates(dataset):
    """Returns the age in completed years at the date of the study; `None` if a date is absent or impossible."""
    birth = _date(dataset, "PatientBirthDate")
    study = next(filter(None, (_date(dataset, tag) for tag in _STUDY_DATES)), None)
    if not birth or not study:
        return None
    # Dates are YYYYMMDD: their difference as numbers, divided by 10,000, is the age in completed years.
    years = (study - birth) // 10_000
    return years if 0 <= years <= _OLDEST else None


def _date(dataset, tag):
    """Returns a date as a number YYYYMMDD; a date without day or month is the first of them."""
    digits = re.sub(r"[-/ :.]", "", text(dataset, tag))[:8]
    if not re.fullmatch(r"\d{4}(\d\d){0,2}", digits) or not 1850 <= int(digits[:4]) <= 2200:
        return None
    return int(digits.ljust(8, "0"))

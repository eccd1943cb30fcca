"""What the tags of a DICOM file say about it: is it a frontal chest X-ray, and of whom?

Tags that a device fills from a list decide (modality, body part, view). Free text only leads to a warning, as it may be
about another image of the study; it is never shown, as it may contain a patient's name.
"""

import re
import unicodedata
from contextlib import suppress

from pydicom.sr.codedict import Code, codes

FRONTAL, LATERAL = "frontal", "lateral"
_ADULT = 18  # years
_OLDEST = 120
# Modalities of radiographs: computed, digital and conventional radiography, "other", and what devices write for them.
_RADIOGRAPHS = ("CR", "DX", "RG", "OT", "DR", "XR")
# What no Latin letter is in is unknown, too, unless it is a chest.
_UNKNOWN = re.compile(r"UNK\w*|UNDEFINED|UNSPECIFIED|OTHER|ANY|NONE|N ?/? ?A|X+|[^A-Z0-9]*")
# Words and beginnings of words, in capitals without accents. A spine is not a chest, although it may be thoracic.
_CHEST = re.compile(
    "CHEST|THORA|TORA|TORRE|LUNG|PULM|POUMON|PECHO|PEITO|BRUST|BORST|BROST|RINTA|MELLKAS|GOGUS|KLATKA|HRUD|CXR|THX"
    "|POLMON|PLUC|PLIC|AKCIGER|NGUC|KEUHKO|TUDO|PIERS|CHST|T-D3000|51185008|胸|흉|ГРУД|ОГК|ЛЕГК|ΘΩΡΑ|ΘΏΡΑ|صدر|חזה|ทรวง"
)
_NOT_CHEST = re.compile(
    "SPINE|COLU[MN]|WIRBEL|RACHIS|VERTEB|WERVEL|SPINA|ESPIN|PATER|ABD|PELV|HAND|HEAD|SKULL|NECK|KNEE|SHOULDER|ELBOW"
)
_LATERAL_WORDS = re.compile(
    r"\b(CHEST|CXR|THX|THORAX|TORAX)?[LRX]?LAT\d?\b|\b(CHEST|THORAX|TORAX|[LR])?LATER[AO]|\b[LR]L\b|\bL[-/ ]L\b|"
    r"PROFIL|PERFIL|SEITL|ZIJ|BOCN|BOCZN|SIVU|\bSIDO|OLDAL|YAN\b|\bBOK\b|БОК|侧|側|측면|ΠΛΑΓ|جانب|\bOBL\b|OBLI[CQ]|"
    r"SCHRAG|\b[LR]([AP]O|L[DO])\b|(?<!SUPINE )(?<!SUPINO )DECUB(?!\w* (SUPIN|DORSAL))"
)
_FRONTAL_WORDS = re.compile(
    r"\b(AP|PA)(?![A-Z])|\bA\w*[ -]*P\w*OR\b|\bP\w*[ -]*A\w*OR\b|FRONT|\bFACE\b|\bFRENTE\b|正位|정면|ПРЯМ"
)
# Free text that often names the view of the image, and that of the whole study, which may have other images.
_FREE_TEXT = (
    "SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription", "ImageComments",
)  # fmt: skip
_STUDY_TEXT = ("PerformedProcedureStepDescription", "RequestedProcedureDescription", "StudyDescription")
# What may be shown of a tag: terms of the standard and numbers of frames. Anything else may be a name.
_TERMS = re.compile(
    r"\d{1,3}|CT|MR|US|NM|PT|MG|XA|RF|ES|SEG|SR|RTDOSE|RGB|PALETTE COLOR|YBR [A-Z0-9 ]+|ABDOMEN|ANKLE|ARM|BREAST|"
    r"CSPINE|ELBOW|EXTREMITY|FEMUR|FINGER|FOOT|FOREARM|HAND|HEAD|HEEL|HIP|KNEE|LEG|LSPINE|NECK|PELVIS|SHOULDER|SKULL|"
    r"SPINE|THORACIC SPINE|TSPINE|WHOLEBODY|WRIST"
)
ACCEPTABLE_TAGS = ("Modality", "BodyPartExamined", "ViewPosition")
# "058Y", "7", "6 MONTHS", "6,5 ANS": a number, and a unit unless it is years. "58 M" may be months or a man, "58 J"
# days or years: they are unknown.
_AGE = re.compile(
    r"0*(\d{1,5}+)(?:[.,]\d+)?+(?:(?P<days> ?(?:DA|DI|TAG|JOUR|GIORN)\w*|D(?! ?[A-Z]))|"
    r"(?P<weeks> ?(?:WE|WK|WO|SEM|SETT)\w*|W(?! ?[A-Z]))|(?P<months> ?(?:MO|MES)\w*|M(?! ?[A-Z]))|"
    r"(?P<years> ?(?:Y|AN|JAHR)\w*| ?A?(?! ?[A-Z])))"
)
_PER_YEAR = {"days": 365, "weeks": 52, "months": 12, "years": 1}
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
    with suppress(UnicodeError):  # in a code string, pydicom reads UTF-8 as Latin-1
        joined = joined.encode("latin-1").decode("utf-8")
    plain = "".join(c for c in unicodedata.normalize("NFKD", joined) if not unicodedata.combining(c))
    plain = unicodedata.normalize("NFC", plain)  # Korean syllables are whole again
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
    modality, photometric, frames = (
        text(dataset, tag) for tag in ("Modality", "PhotometricInterpretation", "NumberOfFrames")
    )
    notes, part, (view, source) = [], _part(dataset), _view(dataset)
    for tag, wrong, defect in (
        ("", "PixelData" not in dataset, "contains no image: expected a DICOM file with one chest X-ray"),
        ("", frames not in ("", "0", "1"), f"has {_quoted(dataset, 'NumberOfFrames')} frames: expected a single image"),
        (
            "",
            not photometric.startswith("MONOCHROME"),
            f"has the PhotometricInterpretation {_quoted(dataset, 'PhotometricInterpretation')}: expected MONOCHROME1 "
            "or MONOCHROME2, a grayscale image",
        ),
        (
            "Modality",
            modality not in ("", *_RADIOGRAPHS),
            f"has the modality {_quoted(dataset, 'Modality')}: expected a radiograph",
        ),
        (
            "BodyPartExamined",
            _NOT_CHEST.search(part) or not (_UNKNOWN.fullmatch(part) or _CHEST.search(part)),
            f"shows {_quoted(dataset, 'BodyPartExamined')} (BodyPartExamined): expected a chest X-ray",
        ),
        (
            "ViewPosition",
            view == LATERAL,
            f"is a lateral or oblique view ({source}): expected a frontal view, PA or AP",
        ),
    ):
        if wrong and tag not in accepted:
            raise ValueError(f"{name} {defect}.{f' If the tag is wrong: --accept {tag}.' if tag else ''}")
        if wrong:
            notes.append(f"WARNING: the image {defect}. It was accepted (--accept {tag}).")
    axes = [axis[:1] for axis in text(dataset, "PatientOrientation").split()]
    warnings = (
        (
            text(dataset, "PresentationIntentType") == "FOR PROCESSING",
            "these are raw values of the detector (FOR PROCESSING): export the image for presentation.",
        ),
        (
            len(axes) == 2 and set(axes) <= set("LRFH") and axes != ["L", "F"],
            "the tag PatientOrientation says that the image is mirrored or rotated: turn it first.",
        ),
        (
            part and _UNKNOWN.fullmatch(part) and not _CHEST.search(part),
            "the tag BodyPartExamined does not say that this is a chest.",
        ),
    )
    return notes + [f"WARNING: {warning}" for applies, warning in warnings if applies]


def describe_patient(dataset):
    """Returns warnings about age, body part and view, a list of str; it contains no date and no text of a tag.

    Args:
        dataset: `pydicom.Dataset`, an empty one for a file without tags.
    """
    notes, ages, (view, _) = [], _ages(dataset), _view(dataset)
    if ages and min(ages) < _ADULT:
        notes.append(CHILD)
    # The study of a frontal image often has a lateral one, too.
    tags = _FREE_TEXT if view == FRONTAL else _FREE_TEXT + _STUDY_TEXT
    if lateral := [tag for tag in tags if _view_of(text(dataset, tag)) == LATERAL]:
        notes.append(
            f"WARNING: the tag {lateral[0]} says that this is not a frontal view: do not rely on the predictions."
        )
    is_chest = _part(dataset) or any(_CHEST.search(text(dataset, tag)) for tag in _FREE_TEXT + _STUDY_TEXT)
    known = {"the body part": is_chest, "the view": lateral or view, "the patient's age": ages}
    if missing := [what for what in known if not known[what]]:
        stated = " and ".join([", ".join(missing[:-1])] * (len(missing) > 1) + missing[-1:])
        notes.append(f"The file does not state {stated}: use it only for frontal chest X-rays (PA or AP) of adults.")
    return notes


def _part(dataset):
    """Returns the text of `BodyPartExamined` or, if it is empty, that of `AnatomicRegionSequence`."""
    with suppress(Exception):  # the sequence may be absent, empty or damaged
        item = dataset.AnatomicRegionSequence[0]
        return text(dataset, "BodyPartExamined") or text(item, "CodeMeaning") or text(item, "CodeValue")
    return text(dataset, "BodyPartExamined")


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
        found["ViewCodeSequence"] = _view_of(_meaning(dataset.ViewCodeSequence[0]), both=LATERAL)
    return next(((view, tag) for view in (LATERAL, FRONTAL) for tag in found if found[tag] == view), (None, None))


def _meaning(item):
    """Returns what an item of `ViewCodeSequence` says; a code without a meaning is looked up (PS3.16, CID 4010)."""
    value = text(item, "CodeValue").replace("R-10214", "R-40888")  # older code of PA
    code = Code(value, "SRT" if value.startswith("R-") else "SCT", "")
    known = codes.cid4010.concepts.values()
    return text(item, "CodeMeaning") or next(view.meaning.upper() for view in known if view == code)


def _view_of(words, both=None):
    """Returns the view that a text names, `None` if it names none, and `both` if it names two."""
    lateral = _LATERAL_WORDS.search(words)
    frontal = _FRONTAL_WORDS.search(re.sub(r"\b([AP])[-/]([AP])\b", r"\1\2", words))
    if lateral and frontal:
        return both
    return LATERAL if lateral else FRONTAL if frontal else None


def _ages(dataset):
    """Returns the patient's age in years by `PatientAge` and by the dates, a list without impossible ages."""
    stated = _AGE.match(text(dataset, "PatientAge"))
    ages = [int(stated[1]) / _PER_YEAR[stated.lastgroup]] if stated else []
    birth, *studies = (_date(dataset, tag) for tag in ("PatientBirthDate", *_STUDY_DATES))
    study = next(filter(None, studies), None)
    if birth and study:
        # Dates are YYYYMMDD: their difference as numbers, divided by 10,000, is the age in completed years.
        ages.append((study - birth) // 10_000)
    return [age for age in ages if 0 <= age <= _OLDEST]


def _date(dataset, tag):
    """Returns a date as a number YYYYMMDD; a date without day or month is the first of them."""
    digits = re.sub(r"[-/ :.]", "", text(dataset, tag))[:8]
    is_date = re.fullmatch(r"\d{4}(\d\d){0,2}", digits) and 1850 <= int(digits[:4]) <= 2200
    return int(digits.ljust(8, "0")) if is_date else None

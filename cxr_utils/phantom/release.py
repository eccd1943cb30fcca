"""Draws the phantom release: synthetic chest X-rays in the layout of NIH's ChestX-ray14, with some of its errors.

The whole pipeline runs on it without a download. It contains no images of patients: the word PHANTOM is in every image,
and `RELEASE.txt` says it.
"""

import gzip
import hashlib
import shutil
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import cv2
import joblib
import numpy as np

from cxr_utils import config, download
from cxr_utils._progress import progress
from cxr_utils.phantom.image import draw_image

PATIENTS = 490
VERSION = 1  # increase it when the images change: existing phantoms are then drawn again
ARCHIVES = ("images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz")
TABLES = (config.LABEL_TABLES[0], config.BOXES, config.TRAIN_VAL_LIST, config.TEST_LIST)
NOTE = """Phantom: synthetic images drawn by cxr_utils.phantom, no patients (seed {seed})
kind: phantom
version: {version}, {patients} patients
"""

# Relative frequency of each combination of findings. In a default release, each occurs in more than 20 images, except
# the rare ones at the end. `data.keep_frequent_combinations` drops these.
COMBINATIONS = {
    "No Finding": 535,
    "Infiltration": 72, "Effusion": 56, "Atelectasis": 58, "Pneumothorax": 62, "Nodule": 68, "Mass": 62,
    "Consolidation": 60, "Pleural_Thickening": 62, "Cardiomegaly": 60, "Emphysema": 62, "Fibrosis": 66, "Edema": 60,
    "Pneumonia": 62, "Hernia": 88,
    "Atelectasis|Effusion": 34, "Cardiomegaly|Effusion": 32, "Edema|Infiltration": 30, "Consolidation|Effusion": 30,
    "Atelectasis|Infiltration": 28, "Emphysema|Pneumothorax": 28, "Mass|Nodule": 28, "Infiltration|Pneumonia": 28,
    "Fibrosis|Pleural_Thickening": 28,
    **dict.fromkeys(
        ["Atelectasis|Hernia", "Cardiomegaly|Edema", "Cardiomegaly|Hernia", "Consolidation|Pneumonia",
         "Effusion|Infiltration", "Effusion|Mass", "Effusion|Pleural_Thickening", "Effusion|Pneumothorax",
         "Emphysema|Nodule", "Fibrosis|Infiltration", "Infiltration|Nodule", "Nodule|Pneumothorax",
         "Atelectasis|Effusion|Infiltration", "Cardiomegaly|Edema|Effusion", "Edema|Infiltration|Pneumonia"], 5),
}  # fmt: skip
BEDSIDE = ("Edema", "Effusion", "Consolidation", "Pneumonia")  # findings that are more frequent in AP images
# Impossible ages, as in the first edition of NIH's label table.
IMPOSSIBLE_AGES = (148, 150, 155, 411, 414)
# Width and height in pixels, and mm per pixel, of the most frequent detectors of NIH's images.
DETECTORS = {
    "PA": [(2992, 2991, 0.143), (2500, 2048, 0.168), (2048, 2500, 0.168)],
    "AP": [(3056, 2544, 0.139), (2500, 2048, 0.168)],
}
TABLE_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def draw_release(folder, patients=PATIENTS, seed=config.SEED):
    """Draws a release into `folder`, completely or not at all; the same release is not drawn twice.

    Args:
        folder: path of a new or empty folder, or of a phantom, which is replaced unless it is complete and was drawn
            with the same arguments. Missing parent folders are created.
        patients: int > 0, number of patients; each has 3.4 images on average.
        seed: int >= 0; the same seed draws the same images on every machine.

    Returns:
        `Path` of the folder. It contains three archives of PNG files, `MD5SUMS`, the label table, the boxes, the
        official lists and `RELEASE.txt`.

    Raises:
        ValueError: `patients` or `seed` is out of range, or `folder` contains something other than a phantom.
    """
    if patients < 1 or seed < 0:
        raise ValueError(f"A phantom needs patients >= 1 and a seed >= 0; got patients={patients}, seed={seed}.")
    folder = Path(folder).expanduser().resolve()
    note = NOTE.format(seed=seed, version=VERSION, patients=patients)
    if is_complete(folder, note):
        return folder
    if folder.exists() and not may_be_replaced(folder):
        raise ValueError(
            f"{folder} is not a phantom release (of this version): expected a new folder, an empty folder or a "
            "phantom. Nothing was changed; if it is a phantom of an earlier version, delete it."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    images = plan_images(patients, seed)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        drawn = Path(scratch) / "release"
        drawn.mkdir()
        write_tables(drawn, images, write_archives(drawn, images, seed))
        (drawn / config.RELEASE_NOTE).write_text(note, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        drawn.replace(folder)
    return folder


def is_complete(folder, note):
    """Returns whether `folder` contains the release that `note` describes, with undamaged archives."""
    return (
        all((folder / name).is_file() for name in (config.RELEASE_NOTE, "MD5SUMS", *TABLES, *ARCHIVES))
        and (folder / config.RELEASE_NOTE).read_bytes() == note.encode()
        and (folder / "MD5SUMS").read_bytes() == checksums(folder).encode()
    )


def checksums(folder):
    """Returns the content of `MD5SUMS`."""
    return "".join(f"{hashlib.md5((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in ARCHIVES)


def may_be_replaced(folder):
    """Returns whether `folder` is an empty folder or any phantom release."""
    if folder.is_dir() and (note := download.release_note(folder)):
        return note.kind == "phantom"
    return folder.is_dir() and not any(folder.iterdir())


def plan_images(patients, seed):
    """Plans the images of all patients and their findings.

    Args:
        patients: int, number of patients.
        seed: int.

    Returns:
        List of dicts sorted by name, one per image: `name`, `patient`, `followup`, `findings` (list, alphabetical),
        `age`, `sex`, `view`, `rgba` (bool, written with four channels), `test` (bool, in the official test list),
        `detector` (one of `DETECTORS`).
    """
    rng = np.random.default_rng([seed, 0])
    # More than half of NIH's patients have one image, a few have very many.
    counts = rng.choice(np.arange(1, 15), patients, p=np.array([38, 16, 11, 8, 6, 5, 4, 3, 2, 2, 2, 1, 1, 1]) / 100)
    combinations = [name.split("|") for name in COMBINATIONS]
    share = np.array(list(COMBINATIONS.values())) / sum(COMBINATIONS.values())
    shared = np.array([[len(set(a) & set(b)) for b in combinations] for a in combinations])
    # Number of images of each combination that are still to be planned. It keeps the frequencies near their targets.
    missing = share * counts.sum()
    order = np.argsort(rng.random(patients))
    test = set(order[np.cumsum(counts[order]) <= 0.23 * counts.sum()])

    images = []
    for patient in rng.permutation(patients):
        weights = np.clip(missing, 0.01 * share, None)
        usual = rng.choice(len(share), p=weights / weights.sum())
        age, sex = int(np.clip(rng.normal(50, 17), 5, 92)), "MF"[int(rng.random() < 0.44)]
        for followup in range(counts[patient]):
            # Most often the usual combination of the patient; else "No Finding" or one that shares a finding is likely.
            likely = 0.02 + (shared[usual] > 0) + 0.3 * (share == share.max()) + 8.0 * (np.arange(len(share)) == usual)
            weights = np.clip(missing, 0.01 * share, None) * likely
            pick = rng.choice(len(share), p=weights / weights.sum())
            missing[pick] -= 1
            findings = [name for name in combinations[pick] if name != config.NO_FINDING]
            bedside = 0.6 if set(findings) & set(BEDSIDE) else 0.33
            view = "AP" if rng.random() < bedside else "PA"
            images.append({
                "name": f"{patient + 1:08d}_{followup:03d}.png", "patient": int(patient) + 1, "followup": followup,
                "findings": findings, "age": age, "sex": sex, "view": view, "rgba": False, "test": patient in test,
                "detector": DETECTORS[view][rng.integers(len(DETECTORS[view]))],
            })  # fmt: skip
            age = min(age + int(rng.random() < 0.4), 95)
    images.sort(key=lambda image: image["name"])
    # As in NIH's files, about 1 % of the images have four channels, and a few ages are impossible.
    for index in rng.choice(len(images), -(-len(images) // 100), replace=False):
        images[index]["rgba"] = True
    wrong = rng.choice(len(images), min(len(IMPOSSIBLE_AGES), len(images)), replace=False)
    for index, age in zip(wrong, IMPOSSIBLE_AGES, strict=False):  # a small release has fewer images than there are ages
        images[index]["age"] = age
    return images


def encode(image, seed):
    """Draws one image from `plan_images` and returns its PNG file (bytes) and its boxes."""
    pixels, boxes = draw_image(
        seed, image["patient"], image["followup"], image["sex"], image["view"], image["findings"]
    )
    if image["rgba"]:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGRA)
    return cv2.imencode(".png", pixels)[1].tobytes(), boxes


def write_archives(folder, images, seed):
    """Draws all images, writes the archives and `MD5SUMS`, and returns the boxes of each image, in order."""
    # Threads, as a process forked while TensorFlow runs threads may hang. OpenCV and NumPy run in parallel in threads.
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        bar = progress(
            iterable=pool.map(encode, images, [seed] * len(images)),
            total=len(images),
            desc="draw phantom images",
            unit=" images",
        )
        drawn = list(zip(images, bar, strict=True))
    for archive, part in zip(ARCHIVES, np.array_split(np.arange(len(images)), len(ARCHIVES)), strict=True):
        # Without time or name in the header, the same images give the same bytes. Compression level 1, as PNG files are
        # compressed already.
        with (
            open(folder / archive, "wb") as raw,
            gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for image, (png, _) in [drawn[index] for index in part]:
                member = tarfile.TarInfo(f"images/{image['name']}")
                member.size = len(png)
                tar.addfile(member, BytesIO(png))
    (folder / "MD5SUMS").write_text(checksums(folder))
    return [boxes for _, (_, boxes) in drawn]


def write_tables(folder, images, boxes):
    """Writes the label table, the boxes and the official lists in NIH's formats."""
    rows = [
        [image["name"], "|".join(image["findings"]) or config.NO_FINDING, image["followup"], image["patient"],
         image["age"], image["sex"], image["view"], *image["detector"], image["detector"][-1]]
        for image in images
    ]  # fmt: skip
    box_rows = [
        [image["name"], "Infiltrate" if finding == "Infiltration" else finding, *box]
        for image, found in zip(images, boxes, strict=True)
        for finding, box in found
        if image["test"]
    ]
    contents = (
        [[TABLE_HEADER], *rows],
        [[BOX_HEADER], *box_rows],
        [[image["name"]] for image in images if not image["test"]],
        [[image["name"]] for image in images if image["test"]],
    )
    for name, lines in zip(TABLES, contents, strict=True):
        (folder / name).write_text("".join(f"{','.join(map(str, line))}\n" for line in lines))

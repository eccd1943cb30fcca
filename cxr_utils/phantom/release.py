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
from itertools import combinations
from pathlib import Path

import cv2
import joblib
import numpy as np

from cxr_utils import config, download
from cxr_utils._progress import progress
from cxr_utils.phantom.image import draw_image

PATIENTS = 1500
# Seeds of the plan and of the age groups. With them, every group of a default release has enough patients.
PLAN_SEED, AGE_SEED = 16, 534
VERSION = 2  # increase it when the images change: existing phantoms are then drawn again
ARCHIVES = ("images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz")
TABLES = (config.LABEL_TABLES[0], config.BOXES, config.TRAIN_VAL_LIST, config.TEST_LIST, config.ADJUDICATED)
NOTE = """Phantom: synthetic images drawn by cxr_utils.phantom, no patients (seed {seed})
kind: phantom
version: {version}, {patients} patients
"""

# Findings that occur together: each of them alone, each pair of a group, and all three. In a default release, each of
# these combinations occurs in more than 20 images, so that `data.keep_frequent_combinations` keeps it.
GROUPS = (
    ("Atelectasis", "Consolidation", "Effusion"), ("Cardiomegaly", "Edema", "Effusion"),
    ("Consolidation", "Infiltration", "Pneumonia"), ("Emphysema", "Mass", "Nodule"),
    ("Emphysema", "Fibrosis", "Pleural_Thickening"), ("Emphysema", "Nodule", "Pneumothorax"),
    ("Atelectasis", "Cardiomegaly", "Hernia"), ("Effusion", "Mass", "Pleural_Thickening"),
    ("Edema", "Infiltration", "Pneumonia"), ("Fibrosis", "Hernia", "Nodule"),
    ("Fibrosis", "Pleural_Thickening", "Pneumothorax"), ("Atelectasis", "Hernia", "Mass"),
    ("Cardiomegaly", "Edema", "Infiltration"), ("Consolidation", "Pneumonia", "Pneumothorax"),
)  # fmt: skip
# Relative frequency of a combination by its number of findings.
FREQUENCIES = (300, 22, 26, 80)
COMBINATIONS = {
    frozenset(findings): FREQUENCIES[number]
    for number in range(4)
    for group in (*GROUPS, *zip(config.LABELS, strict=True))
    for findings in combinations(group, number)
}
# Errors of the label table, as of labels that a program extracts from reports: how often a finding of an image is
# missing, and in how many images there is one too many.
MISSED, SURPLUS = 0.15, 0.25
ADJUDICATED_SHARE = 0.7  # share of the patients with adjudicated labels, which have no errors
# Number of images of a patient and its probability: as at NIH, most have one image, and a few have very many.
IMAGES = {1: 0.82, 2: 0.07, 3: 0.04, 4: 0.025, 6: 0.02, 8: 0.015, 12: 0.007, 20: 0.003}
AGES = ((18, 39), (40, 59), (60, 90))  # equally frequent
CHILD, CHILDREN = (5, 17), 0.03  # a few patients are children
BEDSIDE = {"Edema", "Effusion", "Consolidation", "Pneumonia"}  # findings that are more frequent in AP images
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
# Columns of the adjudicated labels → the findings in which they are present.
READS = {
    "Pneumothorax": {"Pneumothorax"},
    "Airspace opacity": {"Consolidation", "Edema", "Infiltration", "Pneumonia"},
    "Nodule or mass": {"Nodule", "Mass"},
}
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
        List of dicts sorted by name, one per image: `name`, `patient`, `followup`, `findings` (list, alphabetical, what
        is drawn), `labels` (the same with the errors of the label table), `age`, `sex`, `view`, `rgba` (bool, written
        with four channels), `test` (bool, in the official test list), `detector` (one of `DETECTORS`), `set` (that of
        the adjudicated labels, or `None`).
    """
    rng = np.random.default_rng([seed, PLAN_SEED])
    counts = rng.choice(list(IMAGES), patients, p=list(IMAGES.values()))
    known = sorted(COMBINATIONS, key=sorted)
    share = np.array([COMBINATIONS[findings] for findings in known])
    share = share / share.sum()
    shared = np.array([[len(a & b) for b in known] for a in known])
    # Number of images of each combination that are still to be planned. It keeps the frequencies near their targets.
    missing = share * counts.sum()
    order = np.argsort(rng.random(patients))
    test = set(order[np.cumsum(counts[order]) <= 0.23 * counts.sum()])
    reread = dict(zip(order, rng.permutation(patients) / patients / ADJUDICATED_SHARE, strict=True))

    images = []
    groups = np.random.default_rng([seed, AGE_SEED]).permutation(patients) % len(AGES)
    for patient, group in zip(rng.permutation(patients), groups, strict=True):
        weights = np.clip(missing, 0.01 * share, None)
        usual = rng.choice(len(share), p=weights / weights.sum())
        youngest, oldest = CHILD if rng.random() < CHILDREN else AGES[group]
        age, sex = int(rng.integers(youngest, oldest + 1)), "MF"[int(rng.random() < 0.48)]
        for followup in range(counts[patient]):
            # Most often the usual combination of the patient; else one that shares a finding, or "No Finding".
            likely = 0.02 + (shared[usual] > 0) + 0.3 * (share == share.max()) + 60.0 * (np.arange(len(share)) == usual)
            weights = np.clip(missing, 0.01 * share, None) * likely
            pick = rng.choice(len(share), p=weights / weights.sum()) if followup else usual
            missing[pick] -= 1
            # Reports of one patient are alike, and so are their errors.
            report = np.random.default_rng([seed, patient, pick])
            labels = frozenset(finding for finding in sorted(known[pick]) if report.random() >= MISSED)
            more = [label for label in config.LABELS if label not in known[pick] and labels | {label} in COMBINATIONS]
            if report.random() < SURPLUS and more:
                labels |= {more[report.integers(len(more))]}
            view = "AP" if rng.random() < (0.55 if known[pick] & BEDSIDE else 0.42) else "PA"
            images.append({
                "name": f"{patient + 1:08d}_{followup:03d}.png", "patient": int(patient) + 1, "followup": followup,
                "findings": sorted(known[pick]), "labels": sorted(labels), "age": age, "sex": sex, "view": view,
                "rgba": False, "test": patient in test, "detector": DETECTORS[view][rng.integers(len(DETECTORS[view]))],
                "set": None if reread[patient] >= 1 else "test" if reread[patient] < 0.5 else "val",
            })  # fmt: skip
            age = min(age + int(rng.random() < 0.2), oldest)
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
        seed, image["patient"], image["followup"], image["sex"], min(image["age"], 99), image["view"], image["findings"]
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
        [image["name"], "|".join(image["labels"]) or config.NO_FINDING, image["followup"], image["patient"],
         image["age"], image["sex"], image["view"], *image["detector"], image["detector"][-1]]
        for image in images
    ]  # fmt: skip
    box_rows = [
        [image["name"], "Infiltrate" if finding == "Infiltration" else finding, *box]
        for image, found in zip(images, boxes, strict=True)
        for finding, box in found
        if image["test"] and finding in image["labels"]  # the radiologist knew the labels
    ]
    adjudicated = [
        [
            *row,
            "NO",
            *("NO YES".split()[bool(found & set(image["findings"]))] for found in READS.values()),
            image["set"],
        ]
        for row, image in zip(rows, images, strict=True)
        if image["set"]
    ]
    contents = (
        [[TABLE_HEADER], *rows],
        [[BOX_HEADER], *box_rows],
        [[image["name"]] for image in images if not image["test"]],
        [[image["name"]] for image in images if image["test"]],
        [[f"{TABLE_HEADER},Fracture,{','.join(READS)},Set Id"], *adjudicated],
    )
    for name, lines in zip(TABLES, contents, strict=True):
        content = "".join(f"{','.join(map(str, line))}\n" for line in lines).encode()
        (folder / name).write_bytes(gzip.compress(content, mtime=0) if name.endswith(".gz") else content)

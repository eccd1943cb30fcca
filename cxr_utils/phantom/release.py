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
from cxr_utils.phantom.plan import plan_images

PATIENTS = 1500
VERSION = 2  # increase it when the images change: existing phantoms are then drawn again
ARCHIVES = ("images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz")
TABLES = (config.LABEL_TABLES[0], config.BOXES, config.TRAIN_VAL_LIST, config.TEST_LIST, config.ADJUDICATED)
NOTE = """Phantom: synthetic images drawn by cxr_utils.phantom, no patients (seed {seed})
kind: phantom
version: {version}, {patients} patients
"""

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

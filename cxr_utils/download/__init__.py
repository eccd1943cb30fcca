"""Downloads a release of chest X-rays and verifies the images on disk.

Notebook 000 downloads with it; `cxr check` finds missing and damaged images and downloads their archives again.

- `actions`: plan a download, run it, check the images, repair them.
- `release`: the files of a release (name, address, size, MD5) and where they come from.
- `http_client`: HTTP requests that are repeated after temporary errors.
- `fetch`: downloads one file, resumes a partial download, verifies size and MD5.
- `unpack`: extracts the images of an archive safely, or links unpacked images.
- `transfer`: downloads and unpacks several archives in parallel.
- `tables`: whether label table, official lists and boxes are complete.
- `folders`: folders of unpacked images, and whether their drive can be read.
- `inventory`: which images exist, which archive each one comes from, and which are missing or damaged.
"""

from cxr_utils.download.actions import check, download_release, plan
from cxr_utils.download.folders import image_folder, image_names, readable
from cxr_utils.download.inventory import archives, png_defect, report_unlisted
from cxr_utils.download.release import NIH_PAGE, find_release, release_note
from cxr_utils.download.tables import check_tables, find_label_table, listed_images

__all__ = [
    "NIH_PAGE",
    "archives",
    "check",
    "check_tables",
    "download_release",
    "find_label_table",
    "find_release",
    "image_folder",
    "image_names",
    "listed_images",
    "plan",
    "png_defect",
    "readable",
    "release_note",
    "report_unlisted",
]

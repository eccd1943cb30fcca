"""From a release to verified images on disk: files, HTTP with retries and ranges, safe unpacking, parallel transfers, inventory."""

from cxr_utils.download.actions import check, download_release, plan, repair
from cxr_utils.download.inventory import archives, check_images, image_names
from cxr_utils.download.png import png_defect
from cxr_utils.download.release import NIH_PAGE, find_release

__all__ = [
    "check",
    "NIH_PAGE",
    "archives",
    "check_images",
    "download_release",
    "find_release",
    "image_names",
    "plan",
    "png_defect",
    "repair",
]

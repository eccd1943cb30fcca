"""From the label table and PNG files to splits and arrays.

- `tables`: reads tables and checks their columns and rows.
- `labels`: reads the label table, one-hot encodes the findings, drops rare combinations.
- `available`: keeps rows whose image is in `data/`, states the source of the images.
- `splits`: splits images into training, validation and test sets; saves and loads the frames.
- `pixels`: decodes images once into one 8-bit array per image size and reads from it.
- `augmentation`: affine transforms of images, random or fixed.
- `boxes`: reads the boxes around findings and selects those on test images.
- `adjudicated`: reads radiologist-adjudicated reference labels.
- `user_image`: reads a user's own image (PNG, JPEG or DICOM).
- `dicom_tags`, `dicom_pixels`, `contrast`: what tags say of an image, its gray values, whether these are plausible.
"""

from cxr_utils.data.adjudicated import ADJUDICATED, read_adjudicated
from cxr_utils.data.augmentation import augment, fixed_affines, transform
from cxr_utils.data.available import image_source, is_phantom, keep_present
from cxr_utils.data.boxes import read_boxes, select_cases
from cxr_utils.data.dicom_tags import ACCEPTABLE_TAGS
from cxr_utils.data.labels import absent, absent_findings, keep_frequent_combinations, one_hot, read_labels
from cxr_utils.data.pixels import Images, load_images, read_image, resize
from cxr_utils.data.splits import (
    check_frame,
    describe_overlap,
    load_frame,
    load_split,
    save_split,
    split,
    split_digest,
    targets,
)
from cxr_utils.data.user_image import read_user_image
from cxr_utils.download import find_label_table

__all__ = [
    "ACCEPTABLE_TAGS",
    "ADJUDICATED",
    "Images",
    "absent",
    "absent_findings",
    "augment",
    "check_frame",
    "describe_overlap",
    "find_label_table",
    "fixed_affines",
    "image_source",
    "is_phantom",
    "keep_frequent_combinations",
    "keep_present",
    "load_frame",
    "load_images",
    "load_split",
    "one_hot",
    "read_adjudicated",
    "read_boxes",
    "read_image",
    "read_labels",
    "read_user_image",
    "resize",
    "save_split",
    "select_cases",
    "split",
    "split_digest",
    "targets",
    "transform",
]

"""What `data/` contains after 000-data_download: the images and their source."""

import pandas as pd

from cxr_utils import config, download


def keep_present(frame, leave_out_unreadable=False):
    """Keeps the rows whose image is in `data/images/`, and prints how many images there are in no row, if any.

    Args:
        frame: with the column `imgindex`.
        leave_out_unreadable: bool, whether to drop the images listed in `data/unreadable_images.csv` too.

    Returns:
        The rows kept, in the order of `frame`.

    Raises:
        FileNotFoundError: no image of `frame` is there.
    """
    present = download.image_names()
    download.report_unlisted(frame.imgindex)
    unreadable = config.data_folder() / config.UNREADABLE
    if leave_out_unreadable and unreadable.is_file():
        if left_out := sorted(present.intersection(pd.read_csv(unreadable).imgindex)):
            print(
                f"{len(left_out):,} unreadable images are left out: {', '.join(left_out[:5])}"
                + " …" * (len(left_out) > 5)
            )
        present -= set(left_out)
    kept = frame[frame.imgindex.isin(present)]
    if kept.empty:
        raise FileNotFoundError(
            f"None of the {len(frame):,} images of the label table, such as {', '.join(frame.imgindex[:1])}, is in "
            f"data/images/, which contains {len(present):,} others{f', such as {min(present)}' if present else ''}: "
            "check CXR_RELEASE and run 000-data_download."
        )
    return kept


def image_source(note=""):
    """Returns one line on the source of the images, from `data/RELEASE.txt`; figures and tables show it.

    Args:
        note: str, added to the line, such as `describe_overlap` for figures of test images.
    """
    release = download.release_note()
    source = f"Images: {release.name}" if release else "Images: source not recorded (no data/RELEASE.txt)"
    return "; ".join(filter(None, [source, note]))


def is_phantom():
    """Returns whether the images are synthetic, drawn by `phantom`, according to `data/RELEASE.txt`."""
    note = download.release_note()
    return bool(note) and note.kind == "phantom"
